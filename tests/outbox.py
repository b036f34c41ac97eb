"""The outbox alone: the project's macros and models/inbound over two small feeds and an ID sync, for many quick builds.

dbt takes seconds to start and to parse, so one process of it builds again and again.
"""

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from conftest import DEMO, SOAK, all_vars, install_package
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

LIMITS = {"line_bytes": 120, "lines_per_user": 3, "device_ids_per_user": 3, "user_ids_per_device": 2}
FEEDS = {
    "loyalty": {"dpid": 58342, "id_type": "dpuuid", "mode": "sync"},
    # the same traits, but with IDs of another data source: an overwrite erases what other feeds set there
    "profile": {"dpid": 58344, "id_type": "dpuuid", "target_dpid": 58342, "mode": "overwrite"},
    "phones": {"dpid": 20915, "id_type": "idfa", "target_dpid": 61207, "mode": "sync"},
}
ID_SYNCS = {
    "devices": {
        "prefix": "adobe_id",
        "dpids": [20914, 58342],
        "columns": ["device_id", "customer_id"],
        "newest_by": "captured_at",
    },
    "browsers": {
        "prefix": "adobe_id",
        "dpids": [0, 58342],
        "columns": ["aam_uuid", "customer_id"],
        "newest_by": "captured_at",
    },
    "e_mails": {"prefix": "c2c_id", "dpids": [58342, 58343], "columns": ["customer_id", "hashed_email"]},
}
TAXONOMY = """trait_id,trait_name,dpid,trait_type,description
24,Gold,58342,onboarded,
25,Silver,58342,onboarded,
26,Seen on the site,58342,rule_based,
27,Of a partner,61207,onboarded,
28,Of a partner too,61207,rule_based,
29,Not for sale,58342,onboarded,
"""

# Parsing depends on vars, so a parse is kept for each.
_WORKER = """
import json, os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
from dbt.cli.main import dbtRunner
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
manifests = {}
for line in sys.stdin:
    command, variables, *more = json.loads(line)
    always = ["--quiet", "--no-version-check", "--no-write-json", "--log-level-file", "none", "--vars", variables]
    if variables not in manifests:
        manifests[variables] = dbtRunner().invoke(["parse", *always]).result
    result = dbtRunner(manifest=manifests[variables]).invoke([command, *always, *more])
    failed = [] if result.success else [
        f"{found.node.name}: {found.message}" for found in getattr(result.result, "results", [])
        if str(found.status) in ("error", "fail")
    ] or [str(result.exception)]
    DuckDBConnectionManager.close_all_connections()  # let the test look in
    warned = [found.node.name for found in getattr(result.result, "results", []) if str(found.status) == "warn"]
    print(json.dumps([failed, warned]), file=answers, flush=True)
"""


class Signal(NamedTuple):
    """A row of a feed; any part may be missing."""

    user_id: str | None
    key: str | None
    value: str | None


class Change(NamedTuple):
    """A row of signal_changes."""

    user_id: str
    key: str
    value: str
    qualified: bool


def text_of(signal: Signal, *, remove: bool = False) -> str:
    """A signal as section 3 of the rules writes it."""
    if signal.key == "d_sid":
        return f"{'d_unsid' if remove else 'd_sid'}={signal.value}"
    return f"ic={signal.value}" if signal.key == "ic" else f'"{signal.key}"="{signal.value}"'


# --- Rows of arbitrary text -------------------------------------------------------------------------------------------

pieces = st.one_of(
    st.sampled_from(
        ["@", "%40", ":", "%3A", "%3a", "%41", "%", " ", "\t", "\n", "\r", "\x1f", "\x85", '"', ",", "=", "-", "d_"]
    ),
    st.sampled_from(
        ["D_", "ic", "1.2.3.4", "+49 30 1234567", "0", "24", "ü", "😀", "'", "\\", "a"]
    ),
    st.sampled_from(
        ["\0", "\u00a0", "\u2003", "\u2007", "\u200b", "\u202f", "\ufeff", "\ufffe", "\uffff"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
    st.text("abcdefgh0123456789", min_size=1, max_size=3),
)  # fmt: skip
texts = st.lists(pieces, min_size=1, max_size=4).map("".join)
any_signal = st.builds(
    Signal,
    st.one_of(texts, st.sampled_from(["u1", "u2", "u3"])),
    st.one_of(st.sampled_from(["d_sid", "ic", "size"]), texts),
    st.one_of(texts, st.sampled_from(["24", "25", "26", "27", "52"])),
)


def batched(examples: int) -> Callable[..., object]:
    """A few examples of many rows: each is a build."""
    return settings(
        max_examples=examples * SOAK,
        deadline=None,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


# --- The project ------------------------------------------------------------------------------------------------------


class Outbox:
    """A warehouse with raw tables that a test fills, and dbt that builds the outbox from them."""

    def __init__(self, engine: Literal["duckdb", "postgres"], root: Path, host: str | None) -> None:
        self.engine, self.root, self._host = engine, root, host
        self._deliveries = 0
        _write_project(root)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AAM_", "DBT_", "PG"))}
        self.environment = kept | {"AAM_TARGET": engine}
        if host:
            self._database = f"outbox_{uuid.uuid4().hex}"
            self.environment |= {
                "AAM_PG_HOST": host,
                "AAM_PG_USER": "postgres",
                "AAM_PG_DATABASE": self._database,
            }
            with self._postgres("postgres") as cursor:
                cursor.execute(f"create database {self._database}")
        self._errors = (root / "dbt.txt").open("w")
        self._dbt = subprocess.Popen(
            [sys.executable, "-c", _WORKER],
            cwd=root, env=self.environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip
        self.sql("create schema raw")
        for table, columns in _RAW_TABLES.items():
            self.sql(f"create table raw.{table} ({', '.join(columns)})")
        self._invoke("build", "--exclude-resource-type", "test", "unit_test")

    def close(self) -> None:
        self._dbt.communicate()
        self._errors.close()

    def _invoke(self, command: str, *arguments: str, full: bool = False, **more: object) -> list[str]:
        assert self._dbt.stdin and self._dbt.stdout
        variables = json.dumps({"full": full, "destination": "local"} | more)
        print(json.dumps([command, variables, *arguments]), file=self._dbt.stdin, flush=True)
        answer = self._dbt.stdout.readline()
        assert answer, (self.root / "dbt.txt").read_text()
        failed, warned = json.loads(answer)
        assert not failed, failed
        found: list[str] = warned
        return found

    @contextmanager
    def _postgres(self, database: str) -> Iterator[Any]:
        import psycopg2

        connection = psycopg2.connect(host=self._host, user="postgres", dbname=database)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements; the rows of the last one."""
        if self._host:
            with self._postgres(self._database) as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return list(cursor.fetchall()) if cursor.description else []
        import duckdb

        with duckdb.connect(self.root / "warehouse.duckdb") as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall()

    def begin(self) -> None:
        """Nothing is in the feeds, and nothing was ever delivered."""
        self.fill(**{table: [] for table in _RAW_TABLES})
        for table in ("deliveries", "user_ledger", "id_ledger"):
            self.sql(f"delete from aam_state.{table}")

    def storable(self, rows: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
        """Rows of any text as the engine can hold them: PostgreSQL knows no NUL."""
        nul = "\1" if self.engine == "postgres" else "\0"
        return [tuple(text.replace("\0", nul) for text in row) for row in rows]

    def fill(self, **tables: Iterable[Sequence[str | None]]) -> None:
        """Replace the rows of raw tables; the other tables stay as they are."""
        for table, rows in tables.items():
            self.sql(f"delete from raw.{table}")
            texts = [f"({', '.join(map(_literal, row))})" for row in rows]
            if texts:
                self.sql(f"insert into raw.{table} values {', '.join(texts)}")

    def build(
        self,
        *,
        full: bool = False,
        variables: dict[str, object] | None = None,
        **tables: Iterable[Sequence[str | None]],
    ) -> None:
        """Replace rows, then build the models as `aam run` does before it delivers; `variables`: over the project's."""
        self.fill(**tables)
        self._invoke("run", "--select", "inbound", full=full, **variables or {})

    def run(self, model: str, **variables: object) -> None:
        """Build one model of the outbox."""
        self._invoke("run", "--select", model, **variables)

    def test(self) -> list[str]:
        """Run the data tests; the names of those that warn."""
        return self._invoke("test", "--select", "test_type:data")

    def deliver(self, feed: str, status: str = "delivered", *, uncertain: bool = False) -> str:
        """Record the last build's batch as a delivery, as the loader does; its ID."""
        self._deliveries += 1
        delivery_id = f"{feed}-{self._deliveries:06}"
        self.sql(
            f"""
            insert into aam_state.deliveries (
                delivery_id, feed, kind, mode, destination, batch_id, base_delivery_id, status, forced, uncertain,
                file_timestamp, file_root, lines, users, signals_added, signals_removed, rejected, users_total,
                started_at, changed_at, holder
            )
            select '{delivery_id}', feed, kind, mode, destination, batch_id, base_delivery_id, '{status}', false,
                {uncertain}, {self._deliveries}, '{delivery_id}', lines, users, signals_added, signals_removed,
                rejected, users_total, {_TIME.format(self._deliveries)}, {_TIME.format(self._deliveries)}, 'the test'
            from inbound.batches where feed = '{feed}'
            """
        )
        return delivery_id

    def move(self, delivery_id: str, status: str) -> None:
        """Give a delivery another status."""
        self.sql(f"update aam_state.deliveries set status = '{status}' where delivery_id = '{delivery_id}'")

    def lines(self, feed: str) -> list[str]:
        """The lines of the feed's file, in any order but each user's together and in theirs; without line ends."""
        rows = self.sql(f"select line, lines from inbound.file_lines where feed = '{feed}' order by line")
        for line, lines in rows:
            assert line.endswith("\n")
            assert line.count("\n") == lines
        return [line for text, _ in rows for line in text[:-1].split("\n")]

    def id_lines(self, id_sync: str) -> set[str]:
        """The lines of the ID sync's file."""
        rows = [
            ids for (ids,) in self.sql(f"select ids from inbound.id_sync_lines where id_sync = '{id_sync}'")
        ]
        assert len(rows) == len(set(rows))
        return set(rows)

    def changes(self, feed: str) -> set[Change]:
        """What the build adds and removes."""
        rows = self.sql(
            "select user_id, signal_key, signal_value, qualified from inbound.signal_changes"
            f" where feed = '{feed}'"
        )
        assert len(rows) == len(set(rows))
        return {Change(*row) for row in rows}

    def delivered(self, feed: str) -> set[Signal]:
        """What the state says that the destination has."""
        rows = self.sql(
            "select user_id, signal_key, signal_value from aam_state.delivered_signals"
            f" where feed = '{feed}' and destination = 'local'"
        )
        assert len(rows) == len(set(rows))
        return {Signal(*row) for row in rows}

    def possible(self, feed: str) -> set[Signal]:
        """What the state says that the destination may have besides."""
        rows = self.sql(
            "select user_id, possible from aam_state.delivered_sets"
            f" where feed = '{feed}' and destination = 'local' and possible is not null"
        )
        found = set()
        for user_id, signals in rows:
            for signal in signals.split("\x1f"):
                key, value = signal.split("=")
                found.add(Signal(user_id, key.strip('"'), value.strip('"')))
        return found

    def ledger(self, feed: str) -> list[Change]:
        """The ledger's rows of all batches."""
        rows = self.sql(
            "select user_id, signal_key, signal_value, qualified from aam_state.signal_ledger"
            f" where feed = '{feed}'"
        )
        return sorted(Change(*row) for row in rows)

    def rejected(self, feed: str) -> list[tuple[Signal, str]]:
        """The rows kept back, each with its reason."""
        rows = self.sql(
            "select user_id, signal_key, signal_value, reason from inbound.rejected_rows"
            f" where feed = '{feed}'"
        )
        return [(Signal(*row[:3]), row[3]) for row in rows]

    def compared(self, feed: str) -> set[str]:
        """The users whose signals the build compared with those delivered."""
        rows = self.sql(f"select user_id from inbound.users_to_compare where feed = '{feed}'")
        assert len(rows) == len(set(rows))
        return {user_id for (user_id,) in rows}

    def batch(self, feed: str) -> dict[str, Any]:
        """The feed's figures."""
        columns = [
            "users", "lines", "signals_added", "signals_removed", "signals_unchanged", "signals_before", "rejected",
            "users_before", "users_total",
        ]  # fmt: skip
        [found] = self.sql(f"select {', '.join(columns)} from inbound.batches where feed = '{feed}'")
        return {name.removeprefix("signals_"): n for name, n in zip(columns, found, strict=True)}


_TIME = "timestamp '2024-01-01 00:00:00' + {} * interval '1 minute'"
# Rules that a project adds, about texts that are plain otherwise.
_MORE_RULES = [
    {"reason": "test_account", "field": "user_id", "contains": "^test", "says": "a tester's ID"},
    {
        "reason": "internal_key",
        "field": "signal_key",
        "kinds": ["key_value"],
        "matches": "internal",
        "says": "ours",
    },
    {
        "reason": "says_nothing",
        "field": "signal_value",
        "kinds": ["key_value"],
        "matches": "unknown",
        "says": "empty",
    },
    {
        "reason": "not_for_sale",
        "field": "signal_value",
        "kinds": ["trait"],
        "matches": "29",
        "says": "a trait of ours",
    },
]
_RAW_TABLES = {
    **dict.fromkeys(FEEDS, ("user_id text", "signal_key text", "signal_value text")),
    "devices": ("device_id text", "customer_id text", "captured_at timestamp"),
    "browsers": ("aam_uuid text", "customer_id text", "captured_at timestamp"),
    "e_mails": ("customer_id text", "hashed_email text"),
}


def _literal(text: str | None) -> str:
    return "null" if text is None else "'" + text.replace("'", "''").replace("\0", "' || chr(0) || '") + "'"


def _write_project(root: Path) -> None:
    root.mkdir(parents=True)
    install_package(root)
    shutil.copytree(DEMO / "macros", root / "macros")
    shutil.copy(DEMO / "destinations.yml", root)
    profiles = yaml.safe_load((DEMO / "profiles.yml").read_text())
    # a profile may turn DuckDB's order round; nothing may hang on it
    order = {"default_order": "desc", "default_null_order": "nulls_first"}
    profiles["shop"]["outputs"]["duckdb"]["settings"] = order
    (root / "profiles.yml").write_text(yaml.safe_dump(profiles))
    project = yaml.safe_load((DEMO / "dbt_project.yml").read_text())
    project["vars"] = all_vars(project["vars"])
    project["vars"]["limits"] |= LIMITS
    project["vars"] |= {"feeds": FEEDS, "id_syncs": ID_SYNCS, "id_sync_pixels": {}}
    project["vars"]["rules"] += _MORE_RULES
    project["vars"]["data_sources"][61207] = {"name": "A partner", "id_type": "dpuuid"}
    project["models"] = {
        "shop": {"feeds": {"+schema": "feeds"}},
        "aam_onboard": {"identity": {"+enabled": False}},
    }
    del project["seeds"]
    (root / "dbt_project.yml").write_text(yaml.safe_dump(project, allow_unicode=True, sort_keys=False))
    (root / "seeds").mkdir()
    (root / "seeds" / "traits.csv").write_text(TAXONOMY)
    shutil.copy(DEMO / "seeds" / "_seeds.yml", root / "seeds")
    (root / "models" / "feeds").mkdir(parents=True)
    for table in _RAW_TABLES:
        (root / "models" / "feeds" / f"{table}.sql").write_text(f"select * from raw.{table}\n")
