"""A driver of its own, which may be killed: exports a query, and names the files as a delivery does.

    python exporting.py SETTINGS FOLDER SQL

Says `ready` when the session is there, and in the end the files. As the next run does, it takes back first what a
killed one has named; what that left under temporary names is the export's to remove.
"""

import json
import os
import sys
from pathlib import Path

from pyspark.sql import SparkSession

from aam_onboard.executors import export

settings, folder, sql = json.loads(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
builder = SparkSession.builder
for name, value in settings.items():
    builder = builder.config(name, value)
session = builder.getOrCreate()
os.write(1, b"ready\n")
for named in folder.glob("*.gz"):
    named.unlink()
files = []
for number, part in enumerate(
    export(session, sql, folder, split_bytes=200_000, max_plain_bytes=5_000_000_000), start=1
):
    name = part.path.with_name(f"{number}.gz")
    part.path.rename(name)
    files.append((str(name), part.lines, part.sha256, part.more))
os.write(1, json.dumps(files).encode())
session.stop()
