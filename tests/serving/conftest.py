"""A real server in a thread of this process, over tiny bundles."""

import http.client
import json
import threading
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
import uvicorn

from unskew.serving import ServingLimits, load_systems, make_app
from unskew.serving.metrics import ServerMetrics
from unskew.serving.server import listening

OTHER = Path(__file__).parent.parent / "fixtures" / "format-1" / "bundle"  # two topics, where the fitted one has three


class Client:
    """Speaks to a server; every call is a connection of its own."""

    def __init__(self, port):
        self.port = port

    def call(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, content, {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        is_json = "json" in (response.headers["Content-Type"] or "")
        return SimpleNamespace(
            status=response.status,
            headers=response.headers,
            text=text,
            json=json.loads(text) if is_json else None,
        )

    def get(self, path):
        return self.call("GET", path)

    def predict(self, body, **headers):
        return self.call("POST", "/predict", body, **headers)

    def events(self, body):
        """The events of a stream: name and data of each."""
        text = self.predict({**body, "stream": True}).text
        parts = [part.split("\n") for part in text.strip().split("\n\n")]
        return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in parts]


@contextmanager
def running(systems, limits=None):
    """Serve systems until the block ends; gives a client."""
    limits = limits or ServingLimits()
    config = uvicorn.Config(make_app(systems, limits, ServerMetrics()), log_config=None, lifespan="on")
    server = uvicorn.Server(config)
    with listening("127.0.0.1", 0) as found:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [found]})
        thread.start()
        while not server.started:
            thread.join(0.02)
            assert thread.is_alive()
        try:
            yield Client(found.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="session")
def serving():
    return running


@pytest.fixture(scope="session")
def load():
    """Systems of bundles, on the CPU."""
    return lambda *models, **options: load_systems([str(m) for m in models], ServingLimits(), device="cpu", **options)


@pytest.fixture(scope="session")
def systems(fitted, load):
    return load(fitted[1], OTHER)


@pytest.fixture(scope="session")
def client(systems):
    with running(systems, ServingLimits(rows=100)) as made:
        yield made


@pytest.fixture(scope="session")
def pipeline(systems):
    """What the server should say."""
    return systems[0].pipeline
