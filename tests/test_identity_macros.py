"""The identity macros, as dbt compiles them, run by DuckDB and by a real PostgreSQL on any Unicode text."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import duckdb
import pytest
from conftest import SOAK, copy_package_tests
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.one_engine

MACROS = """
{{ aam_onboard.percent_encode('plain') }} as encoded,
{{ aam_onboard.percent_decode('plain') }} as decoded,
{{ aam_onboard.percent_decode(aam_onboard.percent_encode('plain')) }} as round_trip,
{{ aam_onboard.id_sync_url(58342, 'plain', redirect='plain') }} as url,
{{ aam_onboard.hashed_email('plain') }} as hashed_email,
{{ aam_onboard.id_match_key('plain') }} as match_key
"""
SPACES = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f\x85 \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
    "\u200a\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202f\u205f\u2060\u3000\ufeff\u180e"
)

# No database text holds a NUL or half a surrogate pair.
any_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
# Letters whose lower case all Unicode versions in use know: Latin, Greek, Cyrillic, Armenian, Georgian...
settled_text = st.text(
    st.one_of(
        st.characters(max_codepoint=0x17FF, exclude_characters="\0", exclude_categories=["Cn", "Cs"]),
        st.sampled_from(SPACES + "日本😀\u0130\u03a3\u03c2I\u0131"),
    )
)
encoded_text = st.lists(
    st.one_of(
        st.sampled_from(["%", "%4", "%zz", "%41", "%C3%BC", "%c3", "%E2%82%AC", "%00", "%ED%A0%80"]), any_text
    )
).map("".join)


class Engine:
    """A database, and the macros as its dbt target compiles them."""

    def __init__(self, target: str, environment: dict[str, str], project: Path) -> None:
        self.target, self.project = target, project
        self.environment = {**os.environ, **environment}
        copy_package_tests(project)

    def dbt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(sys.executable).parent / "dbt"), "--quiet", *arguments, "--target", self.target],
            cwd=self.project, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def fails_with(self, *arguments: str) -> str:
        done = self.dbt(*arguments)
        assert done.returncode != 0
        return done.stdout + done.stderr


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    project = tmp_path_factory.mktemp(request.param) / "project"
    if request.param == "duckdb":
        return Engine("duckdb", {}, project)
    host = request.getfixturevalue("postgres_host")
    place = {
        "AAM_PG_HOST": host,
        "AAM_PG_USER": "postgres",
        "AAM_PG_DATABASE": "postgres",
        "AAM_PG_SCHEMA": "macros",
    }
    return Engine("postgres", place, project)


@pytest.fixture(scope="module")
def run(engine: Engine) -> Iterator[Callable[[list[str]], list[dict[str, str]]]]:
    """Texts in, one row of the macros' results each out."""
    compiled = engine.dbt("compile", "--inline", f"select {MACROS} from inputs order by place")
    assert compiled.returncode == 0, compiled.stdout + compiled.stderr
    query = compiled.stdout[compiled.stdout.index("select") :]
    if engine.target == "duckdb":
        connection = duckdb.connect()
    else:
        import psycopg2

        connection = psycopg2.connect(
            host=engine.environment["AAM_PG_HOST"], user="postgres", dbname="postgres"
        )
    cursor = connection.cursor()
    cursor.execute("create temp table inputs (place integer, plain text)")
    place = "?" if engine.target == "duckdb" else "%s"

    def run_query(texts: list[str]) -> list[dict[str, str]]:
        cursor.execute("delete from inputs")
        cursor.executemany(f"insert into inputs values ({place}, {place})", list(enumerate(texts)))
        cursor.execute(query)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    yield run_query
    connection.close()


def examples(count: int) -> Callable[..., object]:
    return settings(
        max_examples=count * SOAK, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )


@examples(100)
@given(texts=st.lists(any_text, min_size=1))
@example(texts=["", "a b+c", "%41", "ü/😀", "${DD_UUID}", "'", "\\", "~-._"])
def test_any_id_comes_back_from_its_url(run: Callable, texts: list[str]) -> None:
    for text, row in zip(texts, run(texts), strict=True):
        encoded = quote(text, safe="")
        assert row["encoded"] == encoded
        assert row["round_trip"] == text
        start, _, parameters = row["url"].partition("?")[0].partition("dpid=58342&dpuuid=")
        assert start == "https://dpm.demdex.net/ibs:"
        user_id, _, redirect = parameters.partition("&redir=")
        assert unquote(user_id, errors="strict") == text
        assert redirect == encoded.replace("%24%7BDD_UUID%7D", "${DD_UUID}")


@examples(100)
@given(texts=st.lists(encoded_text, min_size=1))
def test_decoding_never_fails(run: Callable, texts: list[str]) -> None:
    for text, row in zip(texts, run(texts), strict=True):
        try:
            expected = text if "%00" in text else unquote(text, errors="strict")
        except UnicodeDecodeError:
            expected = text
        assert row["decoded"] == expected


@examples(150)
@given(texts=st.lists(settled_text, min_size=1))
@example(texts=["\u0130@X", "\u0391\u03a3@x", "I", "\u200b Ab \ufeff", " ", "", "ẞ"])
def test_hash_of_the_trimmed_lower_cased_address(run: Callable, texts: list[str]) -> None:
    for text, row in zip(texts, run(texts), strict=True):
        # Python writes a last sigma as \u03c2; we map letter by letter
        normal = text.strip(SPACES).replace("\u03a3", "\u03c3").lower()
        assert row["hashed_email"] == (hashlib.sha256(normal.encode()).hexdigest() if normal else None)


@examples(50)
@given(text=st.text("AbÜ/1 ", min_size=1), zeros=st.integers(0, 3), spaces=st.text(SPACES))
def test_spellings_of_one_id_share_their_key(run: Callable, text: str, zeros: int, spaces: str) -> None:
    text = text.strip(SPACES)
    spellings = [
        text,
        text.upper(),
        "0" * zeros + text,
        spaces + text + spaces,
        quote(text),
        quote(text, safe="").lower(),
    ]
    assert len({row["match_key"] for row in run(spellings)}) == 1


@examples(50)
@given(text=st.from_regex(r"[A-Z]{2}[1-9][0-9]*", fullmatch=True))
def test_other_ids_have_another_key(run: Callable, text: str) -> None:
    others = [text + "0", "1" + text, text[1:], text.replace(text[0], "_"), text[0] + " " + text[1:]]
    key, *other_keys = (row["match_key"] for row in run([text, *others]))
    assert key == text.lower()
    assert key not in other_keys


@pytest.mark.parametrize("engine", ["duckdb"], indirect=True)  # the check stands before any SQL
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("gdpr=1", "give gdpr and gdpr_consent together, or neither"),
        ("gdpr_consent='consent'", "give gdpr and gdpr_consent together, or neither"),
        ("gdpr=2, gdpr_consent='consent'", "gdpr is 0 or 1, not 2"),
    ],
)
def test_consent_parameters_only_together(engine: Engine, arguments: str, message: str) -> None:
    assert message in engine.fails_with(
        "compile", "--inline", f"select {{{{ aam_onboard.id_sync_url(1, 'id', {arguments}) }}}}"
    )


def test_unknown_trait_name_stops_the_query(engine: Engine) -> None:
    assert engine.dbt("seed", "--select", "traits").returncode == 0
    query = "select {{ aam_onboard.trait_id('%s') }} as trait_id"
    shown = engine.dbt("show", "--inline", query % "Tier: gold")
    assert "9180403" in shown.stdout
    message = engine.fails_with("show", "--inline", query % "Tier: platinum")
    assert "0 traits of seeds/traits.csv are named 'Tier: platinum'; there must be one" in message
