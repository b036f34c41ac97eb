"""A session on a real cluster, started once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from spark.cluster import Cluster

pytest.importorskip("pyspark", reason="needs the extra spark (make test-spark)")
if which("java") is None:
    pytest.skip("needs Java 17 (apt-get install openjdk-17-jre-headless)", allow_module_level=True)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environment.items():
            patch.setenv(name, value)
        try:
            cluster.start()
            yield cluster
        finally:
            end_session()
            cluster.stop()


@pytest.fixture
def session(cluster: Cluster) -> Any:
    """The one that is there, or a new one. Its executors hold the workers' cores until `end_session`."""
    from pyspark.sql import SparkSession

    cluster.mend()
    builder = SparkSession.builder
    for name, value in cluster.settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def end_session() -> None:
    from pyspark.sql import SparkSession

    session = SparkSession.getActiveSession()
    if session is not None:
        session.stop()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "delivery"
