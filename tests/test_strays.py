"""Feeds that are renamed, removed or pointed elsewhere: nothing wrong stays where they sent it."""

import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import SOAK, Stage, Workspace, lines_of, process
from test_sandbox_ingest import World as Referee

from aam_onboard import filenames

Prepare = Callable[[Stage], Workspace]
LOOSE = {"max_removed": 1, "max_shrink": 1, "max_rejected": 1}
World = dict[str, set[tuple[str, ...]]]  # what each file series has left, by data sources


def received(project: Workspace) -> World:
    """What Audience Manager holds after all files of the destination, in the order of their timestamps."""
    world: World = {}
    names = {path.name: path for path in project.out()}
    for name, path in sorted(names.items(), key=lambda item: _parsed(item[0]).timestamp):
        process(world, name, lines_of(path), name.rpartition("_")[0])
    return world


def _parsed(name: str) -> Any:
    found = filenames.parse(name)
    assert isinstance(found, filenames.InboundName | filenames.IdSyncName), found
    return found


def remove_model(project: Workspace, feed: str) -> str:
    """Take a feed out of the project; its SQL."""
    path = project.root / "models" / "feeds" / f"{feed}.sql"
    sql = path.read_text()
    path.unlink()
    (project.root / "models" / "exposures.yml").unlink(missing_ok=True)
    described = project.root / "models" / "feeds" / "_feeds__models.yml"
    content = yaml.safe_load(described.read_text())
    content["models"] = [model for model in content["models"] if model["name"] != feed]
    content.pop("unit_tests", None)
    described.write_text(yaml.safe_dump(content))
    project.vars(lambda found: found["feeds"].pop(feed))
    return sql


def signals_of(project: Workspace, feed: str) -> set[tuple[str, ...]]:
    return project.feed_rows(feed)


@pytest.mark.one_engine
def test_a_feed_that_other_data_sources_have_now(workspace: Prepare) -> None:
    project = workspace("delivered")
    before = received(project)["ftp_dpm_58342_58344"]

    def point_elsewhere(found: dict[str, Any]) -> None:
        found["feeds"]["crm_profile"]["target_dpid"] = 58399
        found["data_sources"][58399] = {"name": "Profiles", "id_type": "dpuuid"}

    project.vars(point_elsewhere)
    files = project.out()
    message = project.refused(3, "run", "-q")
    assert f"{len({row[0] for row in before}):,} users of feed crm_profile lie at" in message
    assert "under 58342 → 58344, dpuuid, but dbt_project.yml has it as 58342 → 58399, dpuuid" in message
    assert "`aam retire crm_profile` to withdraw it" in message
    assert "aam retire crm_profile" in project.refused(3, "deliver")
    [stray] = project.ok("plan", "--json").json["strays"]
    assert (stray["feed"], stray["dpids"]) == ("crm_profile", [58342, 58344])
    assert "Nothing will be delivered: " in project.ok("plan").out
    assert project.out() == files

    done = project.ok("retire", "crm_profile", "-q")
    assert "crm_profile is retired" in done.out
    assert received(project)["ftp_dpm_58342_58344"] == set()
    delivered = project.run()
    assert [delivery["feed"] for delivery in delivered] == ["crm_profile"]
    world = received(project)
    assert world["ftp_dpm_58342_58399"] == signals_of(project, "crm_profile") == before
    assert world["ftp_dpm_58342_58344"] == set()
    assert project.run() == []
    assert "is in dbt_project.yml, as what it was sent" in project.refused(2, "retire", "crm_profile")


@pytest.mark.one_engine
def test_a_feed_of_another_name_now(workspace: Prepare) -> None:
    project = workspace("delivered")
    assert "nothing of a feed nobody lies at destination local" in project.refused(2, "retire", "nobody")
    feed = yaml.safe_load((project.root / "dbt_project.yml").read_text())["vars"]["feeds"]["crm_traits"]
    sql = remove_model(project, "crm_traits")
    (project.root / "models" / "feeds" / "loyalty_traits.sql").write_text(sql)
    for path in (project.root / "models" / "feeds").glob("*.sql"):
        path.write_text(path.read_text().replace("ref('crm_traits')", "ref('loyalty_traits')"))
    project.vars(lambda found: found["feeds"].update(loyalty_traits=feed))
    project.sql("update raw.crm_customers set opted_out = true where customer_id = '00004'")
    message = project.refused(3, "run", "-q")
    assert (
        "dbt_project.yml has no such feed: put it back, or, where it has another name now, `aam rename crm_traits NEW`"
        in message
    )

    assert "dbt_project.yml has no feed unknown" in project.refused(2, "rename", "crm_traits", "unknown")
    assert "they are not the same" in project.refused(2, "rename", "crm_traits", "crm_profile")
    done = project.ok("rename", "crm_traits", "loyalty_traits")
    assert "loyalty_traits goes on where crm_traits was" in done.out
    delivered = {delivery["feed"]: delivery for delivery in project.run()}
    [file] = delivered["loyalty_traits"]["files"]
    assert {line.partition("\t")[0] for line in lines_of(Path(file["uri"].removeprefix("file://")))} == {
        "00004"
    }
    world = received(project)["ftp_dpm_58342"]
    assert world == signals_of(project, "loyalty_traits")
    assert not [row for row in world if row[0] == "00004"]
    assert project.run() == []
    assert "has sent nothing" not in project.ok("status", "--select", "loyalty_traits").out


@pytest.mark.one_engine
def test_a_feed_that_is_gone(workspace: Prepare) -> None:
    project = workspace("seeded")
    path = project.root / "models" / "feeds" / "ios_traits.sql"
    pair = "select user_id, 'size', 'L' from one"
    path.write_text(f"with one as (\n{path.read_text()}\n)\nselect * from one union all {pair}")
    project.run()
    there = received(project)["ftp_dpm_20915_58342"]
    sizes = {row for row in there if row[1] == "size"}
    assert sizes and there - sizes
    remove_model(project, "ios_traits")
    assert "feed ios_traits lie at Audience Manager under 20915 → 58342, idfa" in project.refused(
        3, "run", "-q"
    )
    assert "ios_traits" in project.ok("status", "--select", "ios_traits").out

    done = project.ok("retire", "ios_traits", "-q")
    assert f"feed ios_traits: {len(sizes):,} signals stay at Audience Manager" in done.err
    assert received(project)["ftp_dpm_20915_58342"] == sizes  # no sync file can take these back
    assert project.run() == []
    assert "nothing of a feed ios_traits lies" in project.refused(2, "retire", "ios_traits")


def test_an_id_sync_that_is_gone_is_forgotten(duckdb_workspace: Prepare) -> None:
    project = duckdb_workspace("delivered")
    files = project.out()
    project.vars(lambda found: found["id_syncs"].pop("crm_id_sync"))
    assert "ID pairs of feed crm_id_sync lie at Audience Manager under 0 → 58342" in project.refused(
        3, "run", "-q"
    )
    assert "crm_id_sync is retired" in project.ok("retire", "crm_id_sync", "-q").out
    assert project.run() == []
    assert project.out() == files


def test_a_name_that_has_sent_something_is_taken(duckdb_workspace: Prepare) -> None:
    project = duckdb_workspace("delivered")
    settings: dict[str, Any] = {}
    project.vars(lambda found: settings.update(found["feeds"]["crm_traits"]))
    remove_model(project, "ios_traits")
    project.vars(lambda found: found["feeds"]["android_traits"].update(dpid=20915, id_type="idfa"))
    assert "has sent something under its own name already" in project.refused(
        2, "rename", "ios_traits", "android_traits"
    )


@pytest.mark.soak
@pytest.mark.parametrize("at", [12] if SOAK == 1 else [3, 5, 8, 12, 16, 20])
def test_a_retirement_that_is_killed(duckdb_workspace: Prepare, at: int) -> None:
    from test_crash_safety import killed

    project = duckdb_workspace("delivered")
    remove_model(project, "ios_traits")
    where = killed(project, at, "retire", "ios_traits", "-q")
    assert not where.startswith("end")
    again = project.aam("retire", "ios_traits", "-q")
    assert again.code in (0, 2), again.err  # 2: nothing of it is left
    assert received(project)["ftp_dpm_20915_58342"] == set()
    assert project.run() == []


def test_an_output_that_is_another_place_now(duckdb_workspace: Prepare) -> None:
    project = duckdb_workspace("seeded")
    first = len(project.run())
    path = project.root / "destinations.yml"
    content = yaml.safe_load(path.read_text())
    content["outputs"]["local"]["path"] = "elsewhere"
    path.write_text(yaml.safe_dump(content))
    message = project.refused(3, "run", "-q")
    assert (
        "output local of destinations.yml is directory elsewhere/demo_partner, but what it has went to directory out/"
        in message
    )
    assert (
        "Nothing will be delivered: output local of destinations.yml is directory" in project.ok("plan").out
    )
    (project.root / "out").rename(project.root / "elsewhere")
    assert "elsewhere/demo_partner" in project.ok("rename", "--to", "local", "local").out
    assert project.run() == []

    content["outputs"]["files"] = content["outputs"].pop("local")
    content["target"] = "files"
    path.write_text(yaml.safe_dump(content))
    assert "nothing was ever delivered to an output nowhere" in project.refused(
        2, "rename", "--to", "nowhere", "files"
    )
    project.ok("rename", "--to", "local", "files")
    assert project.run() == []
    content["outputs"]["more"] = {**content["outputs"]["files"], "path": "more"}
    path.write_text(yaml.safe_dump(content))
    assert len(project.run("--to", "more")) == first
    assert "output more has deliveries of its own" in project.refused(2, "rename", "--to", "files", "more")


def test_a_data_source_that_another_feed_takes_over(duckdb_workspace: Prepare) -> None:
    """The old feed is withdrawn by what leaves the new one alone."""
    project = duckdb_workspace("delivered")
    remove_model(project, "ios_traits")
    there = received(project)["ftp_dpm_20915_58342"]
    project.sql("create table raw.tablets as select * from raw.mobile_devices where false")
    (project.root / "models" / "feeds" / "tablet_traits.sql").write_text(
        f"select '{next(iter(there))[0]}' as user_id, 'd_sid' as signal_key, '9180401' as signal_value"
    )
    feed = {"dpid": 20915, "target_dpid": 58342, "id_type": "idfa", "mode": "overwrite"}
    project.vars(lambda found: found["feeds"].update(tablet_traits=feed))
    assert "feed ios_traits lie at Audience Manager under 20915 → 58342" in project.refused(3, "run", "-q")
    project.ok("retire", "ios_traits", "-q")
    assert received(project)["ftp_dpm_20915_58342"] == set()
    assert max(project.out(), key=lambda path: path.name.rpartition("_")[2]).name.endswith(".sync.gz")
    project.run()
    assert received(project)["ftp_dpm_20915_58342"] == signals_of(project, "tablet_traits")


def test_a_trait_that_another_data_source_has_now(duckdb_workspace: Prepare) -> None:
    project = duckdb_workspace("delivered")
    project.vars(lambda found: found.update(guards=LOOSE))
    before = received(project)["ftp_dpm_58342"]
    assert any(row[2] == "9180401" for row in before)
    (project.root / "macros" / "seed_once.sql").unlink()
    seed = project.root / "seeds" / "traits.csv"
    seed.write_text(re.sub(r"(?m)^(9180401,.*),58342,", r"\1,58344,", seed.read_text()))
    project.run()
    assert received(project)["ftp_dpm_58342"] == {row for row in before if row[2] != "9180401"}


SOURCES = {"dpuuid": 58342, "gaid": 20914}  # id type: data source
TARGETS = (58342, 58344, 58399)
USERS = [f"{number:08d}-0000-4000-8000-00000000000{number}" for number in range(1, 8)]  # an ID of either type


@dataclass
class History:
    """A project of up to three feeds, that things happen to."""

    project: Workspace
    chance: random.Random
    referee: Referee
    feeds: dict[str, dict[str, Any]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def begin(self) -> None:
        self.project.clear()
        sources = {target: {"name": str(target), "id_type": "dpuuid"} for target in TARGETS}
        self.project.vars(lambda found: found.update(data_sources=sources, guards=LOOSE))
        (self.project.root / "macros" / "seed_once.sql").unlink(missing_ok=True)
        traits = "".join(
            f"{trait_of(target, value)},{target} {value},{target},onboarded,\n"
            for target in TARGETS
            for value in range(3)
        )
        with (self.project.root / "seeds" / "traits.csv").open("a") as seed:
            seed.write(traits)
        self.project.sql("create table raw.said (feed text, user_id text, value integer)")

    def happen(self) -> None:
        """One thing, and users leave, come and change."""
        name = self.chance.choice([*self.feeds, ""])
        free = [
            target for target in TARGETS if target not in {of["target_dpid"] for of in self.feeds.values()}
        ]
        what = self.chance.choice(["add", "add", "remove", "rename", "point", "id_type", "mode"])
        self.counts[what] += 1
        if what == "add" and free:
            name = f"feed_{self.counts.total()}"
            self.feeds[name] = {"dpid": 58342, "id_type": "dpuuid", "mode": "sync", "target_dpid": free[0]}
        elif what == "remove" and name:
            del self.feeds[name]
        elif what == "rename" and name:
            new = f"feed_{self.counts.total()}"
            self.feeds[new] = self.feeds.pop(name)
            self.project.sql(f"update raw.said set feed = '{new}' where feed = '{name}'")
        elif what == "point" and name and free:
            self.feeds[name]["target_dpid"] = self.chance.choice(free)
        elif what == "id_type" and name:
            id_type = self.chance.choice(list(SOURCES))
            self.feeds[name].update(id_type=id_type, dpid=SOURCES[id_type])
        elif what == "mode" and name:
            self.feeds[name]["mode"] = self.chance.choice(["sync", "overwrite"])
        rows = [
            f"('{feed}', '{user}', {self.chance.randint(0, 2)})"
            for feed in self.feeds
            for user in self.chance.sample(USERS, 3)
        ]
        self.project.sql(f"delete from raw.said where user_id = '{self.chance.choice(USERS)}'")
        if rows:
            self.project.sql(f"insert into raw.said values {', '.join(rows)}")
        for path in (self.project.root / "models" / "feeds").glob("feed_*.sql"):
            path.unlink()
        for feed, of in self.feeds.items():
            (self.project.root / "models" / "feeds" / f"{feed}.sql").write_text(
                "select distinct user_id, 'd_sid' as signal_key,"
                f" cast({trait_of(of['target_dpid'], 0)} + value as {{{{ dbt.type_string() }}}}) as signal_value"
                f" from raw.said where feed = '{feed}'"
            )
        self.project.vars(lambda found: found.update(feeds=self.feeds))

    def run(self) -> None:
        """Until it ends with 0: what stops it is renamed where the name alone has changed, else retired."""
        from test_crash_safety import killed

        if self.chance.random() < 0.25:
            self.counts["kills"] += 1
            killed(self.project, self.chance.choice([2, 5, 9, 14]), "run", "-q", ends=(0, 3))
        while (done := self.project.aam("run", "-q")).code != 0:
            found = re.search(r"of feed (\S+) lie at .*? under ([0-9]+) → ([0-9]+), ([a-z]+)", done.err)
            assert done.code == 3 and found, done.err
            identity = int(found[2]), int(found[3]), found[4]
            same = [
                name
                for name, of in self.feeds.items()
                if (of["dpid"], of["target_dpid"], of["id_type"]) == identity
            ]
            if not (same and self.project.aam("rename", found[1], same[0]).code == 0):
                self.project.ok("retire", found[1], "-q")
                self.counts["retired"] += 1

    def require_agreement(self) -> None:
        """What the files say was put at each data source is what the models of today say."""
        world = received(self.project)
        said = {
            f"ftp_dpm_{of['dpid']}_{of['target_dpid']}": self.project.feed_rows(name)
            for name, of in self.feeds.items()
        }
        for name in {*world, *said}:
            assert world.get(name, set()) == said.get(name, set()), (name, self.feeds)
        self.referee.take_copies(self.project.out())
        assert self.referee.profiles() == {
            (of["dpid"], user_id): {
                int(value)
                for other, settings in self.feeds.items()
                if settings["dpid"] == of["dpid"]
                for user, _, value in self.project.feed_rows(other)
                if user == user_id
            }
            for name, of in self.feeds.items()
            for user_id, _, _ in self.project.feed_rows(name)
        }


def trait_of(target: int, value: int) -> int:
    """A trait of a data source."""
    return target * 100 + value


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1 if SOAK == 1 else SOAK))
def test_any_history(workspace: Prepare, tmp_path: Path, seed: int) -> None:
    """Feeds are added, removed, renamed, pointed elsewhere and of other IDs, users leave, runs are killed: after each
    run that ends with 0, nothing lies anywhere that the models of today do not say."""
    project = workspace("seeded")
    referee = Referee(
        tmp_path / "referee",
        {
            "data_sources": {target: {"cross_device": True} for target in TARGETS},
            "traits": {trait_of(target, value): {"dpid": target} for target in TARGETS for value in range(3)},
        },
    )
    history = History(project, random.Random(f"{seed}{project.engine}"), referee)
    history.begin()
    for _ in range(3 if SOAK == 1 else 15):
        history.happen()
        history.run()
        history.require_agreement()
