"""A Spark Connect server of this machine's: one Java process, which dbt and `aam` ask as they would a cluster's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLASS = "org.apache.spark.sql.connect.service.SparkConnectServer"


@contextmanager
def connect_server(folder: Path, *, partitions: int = 1) -> Iterator[str]:
    """Its address; tables and catalog lie in the folder, and end with it.

    `partitions`: of what is sorted or grouped; one is quickest for little data.
    """
    import pyspark

    folder.mkdir(parents=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    settings = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": port,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.catalogImplementation": "hive",
        "spark.sql.warehouse.dir": folder / "tables",
        "spark.hadoop.javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={folder}/catalog;create=true",
        # little data, and many statements that are never asked again: to compile for them takes longer than to run
        "spark.sql.shuffle.partitions": partitions,
        "spark.default.parallelism": partitions,
        # the server is never killed itself, so nothing need be safe on the disk
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={folder} -Dderby.system.durability=test"
        " -XX:+UseSerialGC -Xss4m",
    }
    home = Path(pyspark.__file__).parent
    environment = {
        **os.environ,
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
    }
    given = [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
    command = [f"{home}/bin/spark-submit", "--master", "local[2,3]", "--driver-memory", "2g", *given]
    process = subprocess.Popen(
        [*command, "--class", CLASS, "spark-internal"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "Spark Connect server started" in line:
            break
    else:
        raise RuntimeError(f"Spark did not start:\n{''.join(said)}")
    threading.Thread(target=lambda: [None for _ in process.stderr or ()], daemon=True).start()
    try:
        yield f"sc://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
