"""Every membership's file of coming, of the last word and of going, for random files in any order, against a model."""

from dataclasses import dataclass, field

import pytest
from conftest import SOAK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aam_onboard.warehouse import SEPARATOR
from receiving.helpers import SCHEMA, Place, file_name, uuid

USERS = [uuid(number) for number in range(1, 4)]
TOKENS = ["10", "11", "12", "13"]
Key = tuple[str, str]


@dataclass(frozen=True)
class Line:
    """A user, and of each token whether it is a member, has been removed, or is not spoken of."""

    user: str
    says: dict[str, bool]

    @property
    def text(self) -> str:
        lists = (
            ",".join(token for token in self.says if self.says[token] is is_in) for is_in in (True, False)
        )
        return " ".join((self.user, *lists))


@dataclass(frozen=True)
class File:
    mode: str
    day: int
    lines: list[Line]
    has_info: bool


@dataclass
class Model:
    """What the tables hold, by one membership at a time."""

    days: list[int] = field(default_factory=list)  # of the files, by their number
    last_full: int = -1
    now: dict[Key, tuple[int, int]] = field(default_factory=dict)
    ended: list[tuple[str, str, int, int, int]] = field(default_factory=list)
    said: dict[int, dict[Key, bool]] = field(default_factory=dict)  # by iters since the last whole full

    def receive(self, file: File) -> None:
        self.days.append(file.day)
        number = len(self.days)
        if file.day < self.last_full:
            return
        said: dict[Key, bool] = {}
        for line in file.lines:
            for token, is_in in line.says.items():
                key = (line.user, token)
                if is_in or file.mode == "iter":
                    said[key] = said.get(key, True) and is_in
        if file.mode == "full":
            self.last_full = file.day
            listed = {line.user for line in file.lines}
            said |= {key: False for key in self.now if key[0] in listed and key not in said}
        else:
            self.said[number] = said
        for key, is_in in said.items():
            there = self.now.get(key)
            if there and self.days[there[1] - 1] <= file.day:
                self.now[key] = (there[0], number)
                if not is_in:
                    self._end(key, there[1], number)
            elif is_in and not there and not any(key in self.said[other] for other in self._later(file.day)):
                self.now[key] = (number, number)
        if file.mode == "full" and file.has_info:
            for key, (_, last) in list(self.now.items()):
                if last != number and self.days[last - 1] <= file.day:
                    self._end(key, last, number)
            self.said = {other: self.said[other] for other in self._later(file.day)}

    def _later(self, day: int) -> list[int]:
        return [other for other in self.said if self.days[other - 1] > day]

    def _end(self, key: Key, last: int, number: int) -> None:
        self.ended.append((*key, self.now.pop(key)[0], last, number))

    def rows(self) -> list[tuple[object, ...]]:
        return sorted([*((*key, *files, None) for key, files in self.now.items()), *self.ended], key=repr)


def lines() -> st.SearchStrategy[list[Line]]:
    says = st.dictionaries(st.sampled_from(TOKENS), st.booleans())
    return st.lists(st.builds(Line, st.sampled_from(USERS), says), max_size=4)


FILES = st.lists(
    st.builds(File, st.sampled_from(["full", "iter", "iter"]), st.integers(0, 9), lines(), st.booleans()),
    min_size=2,
    max_size=6,
    unique_by=lambda file: file.day,
)


@settings(
    max_examples=6 * SOAK,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(files=FILES)
def test_any_files_in_any_order(place: Place, files: list[File], monkeypatch: pytest.MonkeyPatch) -> None:
    # a part of the users at a time, as of many millions
    monkeypatch.setattr("aam_onboard.warehouse.duckdb.MOST_GATHERED", 1)
    place.clear()
    for path in place.folder.iterdir():
        path.unlink()
    model = Model()
    for file in files:
        texts = [line.text if file.mode == "iter" else line.text.rpartition(" ")[0] for line in file.lines]
        name = file_name(file.day, file.mode)
        place.put(name, texts)
        if file.has_info or file.mode == "iter":
            place.put_info([name])
        place.ok(force=True)
        model.receive(file)
        rows = place.warehouse.rows(
            f"select user_id, tokens, since_file, last_file, until_file from {SCHEMA}.received_memberships"
        )
        assert model.rows() == sorted(
            (
                (user, token, *of_all)
                for user, tokens, *of_all in (row.values() for row in rows)
                for token in tokens.split(SEPARATOR)
            ),
            key=repr,
        )
