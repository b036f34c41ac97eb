"""A place for outbound files and a warehouse that has the state's tables alone: no dbt, so that each test is quick."""

import gzip
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from conftest import PROJECT, Engine

from aam_onboard.config import DuckDBSettings, PostgresSettings, Project, load_project
from aam_onboard.destinations import open_destination, parse_destination
from aam_onboard.outbound.history import TABLE as HISTORY
from aam_onboard.outbound.ledger import TABLES as LEDGER
from aam_onboard.receive import ReceiveResult, Source, receive
from aam_onboard.relations import Relations
from aam_onboard.warehouse import SEPARATOR, Warehouse, open_warehouse

SCHEMA = "aam_state"
TABLES = (*LEDGER, HISTORY)
START = 1_700_000_000_123  # 2023-11-14 22:13:20 UTC
DAY = 86_400_000
UUIDS = [f"{number:038d}" for number in range(1, 40)]


def uuid(number: int) -> str:
    return f"{number:038d}"


def table_text(name: str) -> str:
    """A table of the state as its model has it."""
    text = (PROJECT / "models" / "state" / f"{name}.sql").read_text(encoding="utf-8")
    return f"create table {SCHEMA}.{name} ({re.sub(r'{{.*?}}|-- depends_on.*', '', text)})"


def file_name(
    day: int = 0, mode: str = "full", split: str = "", ending: str = ".sync.gz", head: str = "s3_4411"
) -> str:
    return f"{head}_{mode}_{START + day * DAY}{split}{ending}"


@dataclass
class Place:
    """Where outbound files lie (a folder), and the warehouse into which they come."""

    root: Path
    engine: Engine
    warehouse: Warehouse
    outbound: dict[str, Any] = field(
        default_factory=lambda: {"web": {"destination_id": 4411, "separator": "space"}}
    )
    settings: dict[str, Any] = field(default_factory=lambda: {"settled_minutes": 0, "max_wait_hours": 48})
    raw: dict[str, Any] | None = None  # an output of destinations.yml, else the folder

    @property
    def folder(self) -> Path:
        return self.root / "there"

    def clear(self) -> None:
        """As if nothing had ever come."""
        for name in TABLES:
            self.warehouse.execute(f"delete from {SCHEMA}.{name}")

    def project(self) -> Project:
        content = {"name": "shop", "profile": "shop", "vars": {"outbound": self.outbound}}
        (self.root / "dbt_project.yml").write_text(yaml.safe_dump(content))
        places = {f"aam_onboard.{name}": (SCHEMA, name) for name in TABLES}
        return load_project(self.root).model_copy(update={"relations": Relations(places)})

    def put(
        self,
        name: str,
        lines: Iterable[str] | bytes,
        *,
        folder: str = "",
        age_hours: float = 1,
        end: str = "\n",
    ) -> Path:
        """A file there; its bytes as given, or its lines, packed as its name says."""
        data = lines if isinstance(lines, bytes) else "".join(line + end for line in lines).encode()
        if not isinstance(lines, bytes) and name.endswith(".gz"):
            data = gzip.compress(data, 1)
        path = self.folder / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        at = time.time() - age_hours * 3600
        os.utime(path, (at, at))
        return path

    def put_info(
        self, names: Sequence[str], *, root: str | None = None, age_hours: float = 1, **change: Any
    ) -> Path:
        """The `.info` of these files, of which those that are there are measured; `change`: of the first one."""
        files = []
        for number, name in enumerate(names, start=1):
            path = self.folder / name
            data = path.read_bytes() if path.exists() else b"?"
            text = gzip.decompress(data) if name.endswith(".gz") and path.exists() else data
            said = {
                "FileByteSize": len(data),
                "FileLineCount": text.count(b"\n"),
                "FileName": name,
                "FileSequenceNumber": number,
                "md5": hashlib.md5(data).hexdigest(),
            }
            files.append(said | (change if number == 1 else {}))
        root = root or re.sub(r"(?:-[0-9]+|(?<=[0-9]{13})[0-9]{3})?[.](sync|csv).*", "", names[0])
        content = {"Files": files, "Totals": {"FileName": f"{root}.sync", "TotalNumberFiles": len(files)}}
        return self.put(f"{root}.info", json.dumps(content).encode(), age_hours=age_hours)

    def full(self, members: dict[str, Sequence[str]], day: int = 0, *, info: bool = True) -> None:
        """A whole full of one file."""
        name = file_name(day)
        self.put(name, [f"{user} {','.join(tokens)}" for user, tokens in members.items()])
        if info:
            self.put_info([name])

    def iter(
        self, members: dict[str, Sequence[str]], removed: dict[str, Sequence[str]], day: int, **more: Any
    ) -> None:
        """A whole iter of one file."""
        users = sorted(members.keys() | removed.keys())
        lines = [
            f"{user} {','.join(members.get(user, ()))} {','.join(removed.get(user, ()))}" for user in users
        ]
        self.put(file_name(day, "iter"), lines, **more)
        self.put_info([file_name(day, "iter")])

    def receive(self, **more: Any) -> ReceiveResult:
        project = self.project()
        raw = self.raw or {"type": "directory", "path": str(self.folder)}
        settings = parse_destination("there", {"partner_name": "acme", "receive": self.settings, **raw})
        assert settings.receive is not None
        destination = open_destination("there", settings)
        try:
            source = Source(destination, settings.receive, project.vars.outbound)
            return receive(self.warehouse, project, [source], **more)
        finally:
            destination.close()

    def ok(self, **more: Any) -> ReceiveResult:
        result = self.receive(**more)
        assert not result.errors, result.errors
        return result

    def refused(self, code: int, **more: Any) -> str:
        result = self.receive(**more)
        assert result.exit_code == code, result.errors
        [error] = result.errors
        assert "\n" not in str(error)
        return str(error)

    def members(self, outbound: str = "web") -> set[tuple[str, str]]:
        rows = self.warehouse.rows(
            f"select user_id, tokens from {SCHEMA}.received_memberships where until_file is null and since_file in"
            f" (select file_id from {SCHEMA}.received_files where outbound = $1)",
            [outbound],
        )
        found = [(row["user_id"], token) for row in rows for token in row["tokens"].split(SEPARATOR)]
        assert len(set(found)) == len(found), "a membership stands once"
        return set(found)

    def rejected(self) -> dict[str, str]:
        rows = self.warehouse.rows(f"select reason, line from {SCHEMA}.rejected_lines")
        return {row["line"]: row["reason"] for row in rows}


def pairs(members: dict[str, Sequence[str]]) -> set[tuple[str, str]]:
    return {(user, token) for user, tokens in members.items() for token in tokens}


def make_warehouse(
    engine: Engine, root: Path, host: str | None, database: str = "aam_received", *, anew: bool = True
) -> Warehouse:
    """A warehouse with the tables of the state that receiving writes; not `anew`: the one that is there."""
    if engine == "duckdb":
        import duckdb

        path = root / "warehouse.duckdb"
        duckdb.connect(str(path)).close()
        warehouse = open_warehouse("duckdb", DuckDBSettings(type="duckdb", path=str(path)))
    else:
        import psycopg2

        connection = psycopg2.connect(host=host, user="postgres", dbname="postgres")
        connection.autocommit = True
        with connection.cursor() as cursor:
            if anew:
                cursor.execute(f"drop database if exists {database} with (force)")
                cursor.execute(f"create database {database}")
        connection.close()
        settings = PostgresSettings(type="postgres", host=str(host), user="postgres", dbname=database)
        warehouse = open_warehouse("postgres", settings)
    if anew:
        warehouse.execute(f"create schema {SCHEMA}")
        for name in TABLES:
            warehouse.execute(table_text(name))
    return warehouse
