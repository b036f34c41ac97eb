"""The rivals, each a bare script: what a person would write who needs no proof, no state and no second try."""

from __future__ import annotations

import os
import sys
from pathlib import Path

LINES = "select line, lines from inbound.file_lines where feed = 'crm_traits'"


def stream_duckdb(database: str) -> None:
    """The limit: the same query's record batches, thrown away."""
    import duckdb

    connection = duckdb.connect(database, read_only=True)
    connection.execute("set preserve_insertion_order = false")
    for _ in connection.sql(LINES).to_arrow_reader(50_000):
        pass


def copy_duckdb(database: str, path: str) -> None:
    """DuckDB's own export to gzip."""
    import duckdb

    connection = duckdb.connect(database, read_only=True)
    connection.execute("set preserve_insertion_order = false")
    query = "select user_id, signals from inbound.inbound_lines where feed = 'crm_traits'"
    options = "format csv, compression gzip, header false, delimiter '\t', quote '', escape ''"
    connection.execute(f"copy ({query}) to '{path}' ({options})")


def run_duckdb(database: str, *statements: str) -> None:
    """One statement, or several."""
    import duckdb

    connection = duckdb.connect(database, config={"memory_limit": "3GB"})
    for statement in statements:
        connection.execute(statement)


def run_spark(address: str, *statements: str) -> None:
    """One statement, or several, by Spark Connect."""
    from pyspark.sql import SparkSession

    session = SparkSession.builder.remote(address).getOrCreate()
    for statement in statements:
        session.sql(statement).collect()
    session.stop()


def write_then_upload(database: str, folder: str, split_bytes: str, endpoint: str, bucket: str) -> None:
    """All files first, then one upload after the other."""
    import boto3
    import duckdb

    from aam_onboard.files import write_parts

    connection = duckdb.connect(database, read_only=True)
    connection.execute("set preserve_insertion_order = false")
    batches = connection.sql(LINES).to_arrow_reader(50_000)
    parts = list(write_parts(batches, Path(folder), split_bytes=int(split_bytes), max_plain_bytes=5 * 10**9))
    client = boto3.client("s3", endpoint_url=endpoint)
    for number, part in enumerate(parts):
        client.upload_file(
            str(part.path), bucket, f"rival/{number}.gz", ExtraArgs={"ACL": "bucket-owner-full-control"}
        )
        part.path.unlink()


def read_back(database: str, file: str) -> None:
    """An outbound file into a table by DuckDB's own reader, a row a segment."""
    import duckdb

    Path(database).unlink(missing_ok=True)
    connection = duckdb.connect(database)
    connection.execute("set preserve_insertion_order = false")
    columns = "{'user_id': 'VARCHAR', 'segments': 'VARCHAR'}"
    connection.execute(
        "create table memberships as select user_id, unnest(string_split(segments, ',')) as segment"
        f" from read_csv('{file}', delim = ' ', header = false, columns = {columns}, quote = '', escape = '')"
    )


def make_outbound(folder: str, users: str) -> None:
    """Not a rival: a full of so many users with five segments on average, an iter of 1 % of them, and ready rows.

    And the next full, in which 2 % have a segment more, 2 % only one, and 0.1 % do not stand.
    """
    import io

    import duckdb
    from isal import igzip_threaded

    from aam_onboard.files import BatchText

    connection = duckdb.connect()
    connection.execute("set preserve_insertion_order = false")
    user = "'1' || lpad(n::varchar, 37, '0')"
    of_user = "(9000000 + (n * 7919 + x * 104729) % 2000)::varchar"
    segments = f"list_transform(range((1 + n % 9)::integer), lambda x: {of_user})"
    some = f"(select n * 100 as n from range({users} // 100) as r(n)) as r"
    joined = f"array_to_string({segments}, ',')"
    few = f"case n % 50 when 3 then {joined} || ',9123456' when 7 then {of_user.replace('x', '0')} else {joined} end"
    all_users = f"range({users}) as r(n)"
    files = {
        "full": (joined, all_users),
        "iter": ("'1 ' || (9000000 + n * 7919 % 2000)::varchar", some),
        "next": (few, f"{all_users} where n % 1000 <> 999"),
    }
    for day, (folder_name, (said, rows)) in enumerate(files.items()):
        lines = f"select {user} || ' ' || {said} || chr(10) as line, 1 as lines from {rows}"
        mode = "iter" if folder_name == "iter" else "full"
        path = Path(folder) / folder_name / f"s3_4411_{mode}_{1700000000000 + day * 86400000}.sync.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = io.BufferedReader(BatchText(connection.sql(lines).to_arrow_reader(100_000)), 1 << 20)
        with igzip_threaded.open(path, "wb", compresslevel=1, threads=1) as file:
            while block := text.read1(1 << 20):
                file.write(block)
    rows = f"select {user} as user_id, unnest({segments}) as token, 'f', 1, 1 from {all_users}"
    connection.execute(
        f"copy ({rows}) to '{folder}/ready.tsv' (delimiter '\t', header false, quote '', escape '')"
    )


def empty_bucket(endpoint: str, name: str) -> None:
    """Not a rival: where both find the same."""
    import boto3

    bucket = boto3.resource("s3", endpoint_url=endpoint).Bucket(name)
    if bucket.creation_date:
        bucket.objects.delete()
    else:
        bucket.create()


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    globals()[name](*arguments)
