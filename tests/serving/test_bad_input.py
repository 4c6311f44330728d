"""Whatever a client sends gets an answer or a problem document that says what to do, and hurts nobody else."""

import asyncio
import json
import socket
import threading
import time

import pytest

from unskew.common import UserError
from unskew.pipeline import PredictOptions
from unskew.serving import ServingLimits, make_app, serve
from unskew.serving.answers import Listener
from unskew.serving.guard import Guard
from unskew.serving.metrics import ServerMetrics
from unskew.serving.server import listening
from unskew.serving.ticket import Ask

LONG = "wheat " * 100_000


@pytest.mark.parametrize(
    ("body", "status", "said", "row"),
    [
        (b"", 422, "JSON object", None),
        (b"{", 400, "not JSON", None),
        (b'{"text": "\xff\xfe"}', 400, "UTF-8", None),
        (b"[]", 422, "JSON object", None),
        ({}, 422, '"text" or "texts"', None),
        ({"text": "a", "texts": ["b"]}, 422, '"text" or "texts"', None),
        ({"texts": []}, 422, "at least one", None),
        ({"texts": ["a", " \n", "b"]}, 422, "text 2 is empty", 2),
        ({"texts": ["a", "b", 7]}, 422, "valid string", 3),
        (b'{"texts": ["a", "\\ud800"]}', 422, "surrogate", 2),
        ({"texts": ["a"] * 10_000}, 413, "takes 100", None),
        (b'{"text": "' + b"a" * 10_000_000 + b'"}', 413, "over 8 MB", None),
        ({"text": "a", "topic": "cricket"}, 422, "no topic 'cricket'; there are harvest", 1),
        ({"texts": ["a", "b"], "topic": [None, "cricket"]}, 422, "cricket", 2),
        ({"texts": ["a", "b"], "topic": ["harvest"]}, 422, "1 entries for 2 texts", None),
        ({"text": "a", "target_prior": {"harvest": 0.5, "football": 0.4}}, 422, "sums to 0.9", None),
        ({"text": "a", "target_prior": {"cricket": 1.0}}, 422, "cricket", None),
        ({"text": "a", "target_prior": {"harvest": 2, "football": -1}}, 422, "at least 0", None),
        (b'{"text": "a", "target_prior": {"harvest": NaN}}', 422, "at least 0", None),
        ({"text": "a", "target_prior": "even"}, 422, "target_prior: give uniform, train, adaptive, estimate, or", None),
        ({"text": "a", "target_prior": {"harvest": "much"}}, 422, "target_prior: give uniform", None),
        ({"text": "a", "topic": 7}, 422, "topic: give a topic, or a list", None),
        ({"text": "a", "target_prior": "estimate"}, 422, "", None),
        ({"text": "a", "top_k": 0}, 422, "top_k is 0", None),
        ({"text": "a", "min_confidence": 2}, 422, "min_confidence", None),
        ({"text": "a", "sets": 3}, 422, "error rate", None),
        ({"text": "a", "generation": {"max_new_tokens": 0}}, 422, "max_new_tokens is 0", None),
        ({"text": "a", "generation": {"guidance": 0}}, 422, "guidance is 0", None),
        ({"text": "a", "generation": {"guidance": 99}}, 422, "to 10", None),
        ({"text": "a", "generation": {"guidance": 2}}, 422, "fit with a topic_dropout", None),
        ({"text": "a", "fairness": True}, 422, "fit with --decoder.fairness true", None),
        ({"text": "a", "generation": {"beams": 4}}, 422, "generation.beams: there is no such option", None),
        ({"text": "a", "window": 5}, 422, "window: there is no such option", None),
        ({"text": "a", "model": "none"}, 422, "no model 'none'", None),
    ],
)  # fmt: skip
def test_a_mistake_is_a_problem_document(client, body, status, said, row):
    found = client.predict(body)
    assert found.status == status, found.text
    assert found.headers["Content-Type"] == "application/problem+json"
    assert found.json["status"] == status
    assert found.json["title"]
    assert said in found.json["detail"]
    assert found.json.get("row") == row


@pytest.mark.parametrize(
    "text",
    [
        "<|topic:harvest|> wheat <force_fairness>",
        "wheat\0barley",
        "🌾 حصاد القمح",
        LONG,
        "<|eos|><|pad|>",
        "\x1b[2J wheat",
    ],
)
def test_any_other_text_is_a_text(client, text):
    found = client.predict({"text": text, "generation": {"max_new_tokens": 2}})
    assert found.status == 200
    assert "<|topic" not in found.json["results"][0]["output"]


def test_other_methods_paths_and_kinds_of_body(client):
    assert client.call("PUT", "/predict", {}).status == 405
    missing = client.get("/none")
    assert (missing.status, missing.headers["Content-Type"]) == (404, "application/problem+json")
    form = client.predict(b"text=a", **{"Content-Type": "application/x-www-form-urlencoded"})
    assert form.status == 422
    assert "Content-Type: application/json" in form.json["detail"]


def test_a_streams_mistake_is_said_before_the_stream_begins(client):
    found = client.predict({"text": " ", "stream": True})
    assert (found.status, found.json["row"]) == (422, 1)


class Endless:
    """A decoder that writes until it is told to stop."""

    def __init__(self):
        self.begun, self.ended = threading.Event(), threading.Event()

    def __call__(self, texts, topics, generation, fairness, watch):
        self.begun.set()
        ids = []
        while watch(0, ids):
            ids.append(5)
            time.sleep(0.01)
        self.ended.set()
        return ["stopped"] * len(texts)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_ends_the_work(fitted, load, serving, stream):
    systems = load(fitted[1])
    endless = systems[0].pipeline.write = Endless()
    with serving(systems) as client:
        body = json.dumps({"text": "wheat", "stream": stream}).encode()
        connection = socket.create_connection(("127.0.0.1", client.port))
        connection.sendall(_head(len(body)) + body)
        assert endless.begun.wait(30)
        connection.close()
        assert endless.ended.wait(30)
        assert client.get("/health").status == 200


def test_a_client_that_goes_before_its_stream_begins_ends_the_work(fitted, load):
    [system] = load(fitted[1])
    endless = system.pipeline.write = Endless()
    served = make_app([system], ServingLimits(), ServerMetrics())
    body = b'{"text": "wheat", "stream": true}'
    arriving = [{"type": "http.request", "body": body, "more_body": False}]
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST",
        "path": "/predict", "query_string": b"", "root_path": "", "headers": [(b"content-type", b"application/json")],
    }  # fmt: skip

    async def receive():
        return arriving.pop() if arriving else {"type": "http.disconnect"}

    async def send(message):
        await asyncio.sleep(0)

    async def ask():
        async with served.router.lifespan_context(served):
            await served(scope, receive, send)
            while system.worker.waiting:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(ask(), 30))
    assert not endless.begun.is_set() or endless.ended.wait(30)


def test_a_stream_ends_as_it_should_for_a_client_that_reads_slowly(fitted, load):
    [system] = load(fitted[1], stage="encoder")

    async def ask():
        ask = Ask(("wheat",) * 20, PredictOptions(), None, (None,) * 20, write=False, streamed=True)
        listener, found = Listener(ask, system.worker), []
        async for event in listener.events(seconds=2):
            if not found:
                await asyncio.sleep(3)
            found.append(event)
        return found

    system.worker.start(lambda *_: None)
    assert len(asyncio.run(ask())) == 40
    system.worker.stop()


def test_an_answer_that_takes_too_long_is_given_up(fitted, load, serving):
    systems = load(fitted[1])
    endless = systems[0].pipeline.write = Endless()
    with serving(systems, ServingLimits(seconds=0.3)) as client:
        assert client.predict({"text": "wheat"}).status == 504
        assert endless.ended.wait(30)
        [*_, (name, problem)] = client.events({"text": "wheat"})
        assert (name, problem["status"]) == ("problem", 504)
        assert 'unskew_failed_texts_total{model="bundle"} 2.0' in client.get("/metrics").text


def test_a_client_that_sends_too_slowly_is_told_so(fitted, load, serving):
    with serving(load(fitted[1], stage="encoder"), ServingLimits(seconds=0.3)) as client:
        connection = socket.create_connection(("127.0.0.1", client.port))
        connection.sendall(_head(1000) + b'{"text": ')
        assert b"408" in connection.recv(1000)
        connection.close()
        assert client.get("/health").status == 200


def test_a_client_that_reads_too_slowly_is_given_up():
    ended = []

    async def answer(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def never_read(message):
        await asyncio.Event().wait()

    guard = Guard(answer, seconds=0.05, most_bytes=10, ended=lambda *told: ended.append(told))
    with pytest.raises(OSError, match="does not read"):
        asyncio.run(guard({"type": "http", "headers": []}, None, never_read))
    assert [(route, status) for route, status, _ in ended] == [("other", 200)]


def test_more_than_can_wait_is_refused(fitted, load, serving):
    systems = load(fitted[1])
    endless = systems[0].pipeline.write = Endless()
    systems[0].worker._most_waiting = 3
    with serving(systems, ServingLimits(seconds=3)) as client:
        thread = threading.Thread(target=client.predict, args=({"text": "wheat"},))
        thread.start()
        assert endless.begun.wait(30)
        refused = client.predict({"texts": ["a"] * 4})
        assert refused.status == 503
        assert refused.headers["Retry-After"] == "1"
        thread.join()


def test_what_is_in_work_counts_as_waiting(fitted, load, serving, texts):
    systems = load(fitted[1], stage="encoder")
    encoder, busy, go = systems[0].pipeline.encoder, threading.Event(), threading.Event()
    work = encoder.logits

    def slow(asked):
        busy.set()
        assert go.wait(30)
        return work(asked)

    encoder.logits = slow
    systems[0].worker._most_waiting = 4
    with serving(systems) as client:
        thread = threading.Thread(target=client.predict, args=({"texts": texts[:3]},))
        thread.start()
        assert busy.wait(30)
        assert client.predict({"texts": texts[:2]}).status == 503
        go.set()
        thread.join()
        assert client.predict({"texts": texts[:2]}).status == 200


def test_a_wrong_method_is_told_the_right_one(client):
    found = client.call("DELETE", "/predict")
    assert (found.status, found.headers["Allow"]) == (405, "POST")


def test_a_port_in_use_is_said_before_anything_is_loaded():
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port}.*give another --port"):
            serve(["no/such/bundle"], port=port)


@pytest.mark.parametrize(("models", "said"), [([], "give a model"), (["a", "a"], "twice"), (["no/such"], "no bundle")])
def test_models_that_cannot_be_served(models, said):
    with pytest.raises(UserError, match=said):
        serve(models, port=0)


@pytest.mark.parametrize("limits", [{"rows": 0}, {"seconds": -1.0}, {"rows": 10, "waiting": 5}])
def test_limits_that_cannot_be(limits):
    with pytest.raises(UserError, match="limits"):
        ServingLimits(**limits)


def _head(length):
    return (
        f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()
