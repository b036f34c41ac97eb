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
