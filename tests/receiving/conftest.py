"""One warehouse an engine for all of these tests; each begins with nothing received."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Engine

from aam_onboard.warehouse import Warehouse
from receiving.helpers import Place, make_warehouse


@pytest.fixture(scope="session", params=["duckdb", "postgres"])
def receiving(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Engine, Warehouse]]:
    host = request.getfixturevalue("postgres_host") if request.param == "postgres" else None
    warehouse = make_warehouse(request.param, tmp_path_factory.mktemp("receiving"), host)
    yield request.param, warehouse
    warehouse.close()


@pytest.fixture
def place(receiving: tuple[Engine, Warehouse], tmp_path: Path) -> Place:
    engine, warehouse = receiving
    found = Place(tmp_path, engine, warehouse)
    found.folder.mkdir()
    found.clear()
    return found
