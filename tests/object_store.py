"""Object stores for tests and benchmarks: moto's S3 over HTTP, with conditional writes, and fsspec's in memory."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec

SECRET = "s3cr3t-that-nobody-may-read"
KEY = "AKIATHATNOBODYMAYREAD"


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """What the environment of its clients needs."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    finally:
        server.stop()


def client(environment: dict[str, str]):
    """A client of it that does not go through fsspec."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
    )


def objects(s3, bucket: str, prefix: str = "") -> dict[str, bytes]:
    """Every object under a prefix, by what follows it."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
    return {key.removeprefix(prefix): s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


@contextmanager
def in_environment(values: dict[str, str]) -> Iterator[None]:
    """The variables set in this process, and the clients that were made under others forgotten."""
    import fsspec

    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    forget = fsspec.get_filesystem_class("s3").clear_instance_cache
    forget()
    try:
        yield
    finally:
        forget()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def memory_store() -> Iterator[Any]:
    """An empty file system in memory, at memory://."""
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]  # which S3 does not have
    yield store
    store.store.clear()
