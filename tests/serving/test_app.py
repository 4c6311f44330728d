"""What surrounds the predictions: health, metrics, documentation, System One, and a command that ends well."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from unskew.serving.server import listening
from unskew.serving.systems import names_of


def test_state_and_documentation(client, systems):
    assert client.get("/health").json == {"status": "ok"}
    assert client.get("/ready").json == {"status": "ready"}
    info = client.get("/info").json
    first = info["models"][0]
    assert [topic["name"] for topic in first["topics"]] == list(systems[0].pipeline.topics.names)
    assert sum(topic["training_share"] for topic in first["topics"]) == pytest.approx(1)
    assert len(first["fingerprint"]) == 64
    assert {"unskew", "torch", "transformers"} <= set(info["versions"])
    schema = client.get("/openapi.json").json
    assert {"/predict", "/v1/systemone", "/health", "/ready", "/metrics", "/info"} <= set(schema["paths"])
    options = schema["components"]["schemas"]["PredictRequest"]["properties"]
    assert all(option.get("description") for option in options.values())
    page = client.get("/docs").text
    assert not re.findall(r"(?:src|href)=\"https?://", page), "the documentation needs no network"


def test_metrics_count_requests_and_topics(client, texts):
    def count(pattern):
        found = re.search(pattern + r"\S* ([\d.]+)", client.get("/metrics").text)
        return float(found[1]) if found else 0.0

    requests = r'unskew_requests_total\{route="/predict",status="200"\}'
    before = count(requests)
    topic = client.predict({"text": texts[0], "write": False}).json["results"][0]["topic"]
    assert count(requests) == before + 1
    assert count(rf'unskew_topics_total\{{model="[^"]*",topic="{topic}"\}}') >= 1
    assert count(r'unskew_request_seconds_count\{route="/predict"\}') >= 1


def test_system_one_chooses_between_trained_topics(client, pipeline, texts):
    body = {
        "model": client.get("/info").json["models"][0]["name"],
        "state": texts[0],
        "questions": {
            "all": {"type": "choice", "instructions": "Which?", "criteria": dict.fromkeys(pipeline.topics.names)},
            "two": {"type": "choice", "criteria": {"football": "A sport", "harvest": None}},
        },
    }
    found = client.call("POST", "/v1/systemone", body)
    assert found.status == 200, found.text
    expected = dict(zip(pipeline.topics.names, pipeline.probabilities(texts[:1])[0].tolist(), strict=True))
    answers = found.json["answers"]
    assert answers["all"]["probabilities"] == pytest.approx(expected, abs=1e-5)
    assert answers["all"]["choice"] == max(expected, key=expected.get)  # pyright: ignore[reportCallIssue]
    assert answers["all"]["confidence"] == pytest.approx((max(expected.values()) - 1 / 3) / (2 / 3), abs=1e-5)
    pair = {name: expected[name] for name in ("football", "harvest")}
    shares = {name: share / sum(pair.values()) for name, share in pair.items()}
    assert answers["two"]["probabilities"] == pytest.approx(shares, abs=1e-5)
    assert found.json["usage"] == {"input_tokens": pipeline.encoder.count_tokens(texts[:1])[0], "output_tokens": 0}
    unnamed = client.call("POST", "/v1/systemone", {**body, "model": None})
    assert unnamed.json["answers"]["all"]["choice"] == answers["all"]["choice"]


CHOICE = {"type": "choice", "criteria": {"harvest": None}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"questions": {"q": {"type": "noul"}}}, "only choice"),
        ({"questions": {"q": {"type": "score", "criteria": ["low", "high"]}}}, "only choice"),
        ({"questions": {"q": {"type": "choice", "criteria": {"cricket": None}}}}, "not a trained topic"),
        ({"questions": {"q": {"type": "choice"}}}, "criteria"),
        ({"questions": {"q": {**CHOICE, "levels": 3}}}, "no 'levels'"),
        ({"questions": {}}, "questions"),
        ({"state": " "}, "state is empty"),
        ({"state": "wheat \ud800"}, "half of a surrogate pair"),
        ({"assets": {"img-1": {"data_base64": ""}}}, "no images"),
        ({"model": "jev"}, "no model 'jev'"),
        ({"stream": True}, "no such option"),
    ],
)
def test_system_one_refuses_what_a_classifier_cannot_answer(client, change, said):
    found = client.call("POST", "/v1/systemone", {"state": "wheat", "questions": {"q": CHOICE}, **change})
    assert found.status == 422
    assert said in found.json["detail"]


def test_an_answer_does_not_wait_for_its_head_to_be_acknowledged():
    with listening("127.0.0.1", 0) as found, socket.create_connection(found.getsockname()):
        connection, _ = found.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_names_are_as_short_as_tells_them_apart():
    assert names_of(["runs/a"]) == ["a"]
    assert names_of(["runs/a", "other/b/"]) == ["a", "b"]
    assert names_of(["runs/a/bundle", "runs/b/bundle"]) == ["a/bundle", "b/bundle"]


def test_the_command_finishes_what_it_began_after_a_sigterm(fitted, texts, client):
    command = [sys.executable, "-c", "from unskew.cli.main import main; main()", "serve", "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    given = ["--model", str(fitted[1]), "--device", "cpu"]
    with subprocess.Popen([*command, *given], stderr=subprocess.PIPE, text=True, env=environment) as process:
        line = process.stderr.readline()
        port = int(re.search(r"http://127.0.0.1:(\d+)", line)[1])
        there = type(client)(port)
        while not _answers(there):
            assert process.poll() is None
            time.sleep(0.05)
        found = []
        asking = threading.Thread(target=lambda: found.append(there.predict({"texts": texts * 3})))
        asking.start()
        while 'waiting_texts{model="bundle"} 0.0' in there.get("/metrics").text and not found:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        asking.join(60)
        assert found[0].status == 200
        assert len(found[0].json["results"]) == 3 * len(texts)
        assert process.wait(60) == 0


def _answers(client):
    try:
        return client.get("/ready").status == 200
    except OSError:
        return False
