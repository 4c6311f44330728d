"""A model, a worker or a route that fails costs the requests at fault alone, and is said."""

import shutil
import threading
from queue import Queue

import pytest

from unskew.pipeline import PredictOptions
from unskew.serving import app
from unskew.serving.ticket import Ask, Ticket


class Breaking:
    """Stands before a model and fails on one word."""

    def __init__(self, work, word, error):
        self.work, self.word, self.error = work, word, error

    def __call__(self, texts, *more, **options):
        if any(self.word in text for text in texts):
            raise self.error
        return self.work(texts, *more, **options)


@pytest.mark.parametrize(
    ("error", "status"), [(MemoryError(), 503), (RuntimeError("can't allocate memory"), 503), (ValueError("odd"), 500)]
)
@pytest.mark.parametrize("stage", ["encoder", "decoder"])
def test_only_the_request_at_fault_fails(fitted, load, serving, texts, error, status, stage):
    systems = load(fitted[1])
    pipeline = systems[0].pipeline
    owner, name = (pipeline.encoder, "logits") if stage == "encoder" else (pipeline.decoder, "generate")
    setattr(owner, name, Breaking(getattr(owner, name), "boom", error))
    with serving(systems) as client:
        answers = {}

        def ask(name, body):
            answers[name] = client.predict({**body, "generation": {"max_new_tokens": 2}})

        bodies = {str(i): {"texts": texts[i : i + 2]} for i in range(8)} | {"bad": {"texts": ["a", "b", "boom", "c"]}}
        threads = [threading.Thread(target=ask, args=item) for item in bodies.items()]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        bad = answers.pop("bad")
        assert (bad.status, bad.json["row"]) == (status, 3)
        assert {found.status for found in answers.values()} == {200}
        assert client.get("/health").status == 200
        [name, problem] = client.events({"texts": ["a", "boom"]})[-1]
        assert (name, problem["row"]) == ("problem", 2)


def test_a_model_that_fails_on_anything_is_unhealthy(fitted, load, serving, texts):
    systems = load(fitted[1])
    systems[0].pipeline.encoder.logits = Breaking(None, "", RuntimeError("device-side assert"))
    with serving(systems) as client:
        assert client.predict({"text": texts[0]}).status == 500
        assert client.get("/health").status == 503
        assert client.get("/ready").status == 503


@pytest.mark.parametrize("stage", ["encoder", "decoder"])
def test_a_panic_on_anything_is_answered_and_unhealthy(fitted, load, serving, texts, stage):
    class Panic(BaseException):
        """As of the tokenizers' Rust code."""

    systems = load(fitted[1])
    pipeline = systems[0].pipeline
    owner, name = (pipeline.encoder, "logits") if stage == "encoder" else (pipeline.decoder, "generate")
    setattr(owner, name, Breaking(None, "", Panic()))
    with serving(systems) as client:
        for _ in range(2):
            assert client.predict({"text": texts[0]}).status == 500
        assert client.get("/health").status == 503


def test_a_worker_that_fails_answers_who_waits(fitted, load, serving, texts, monkeypatch):
    def fails(tickets):
        raise KeyError("a fault of ours")

    systems = load(fitted[1])
    monkeypatch.setattr(systems[0].worker, "_classify", fails)
    with serving(systems) as client:
        assert client.predict({"text": texts[0]}).status == 500
        found = client.predict({"text": texts[0]})
        assert found.status == 503
        assert "restart the server" in found.json["detail"]
        assert client.get("/health").status == 503


class NotFinite(Breaking):
    """Gives NaN for texts with the word."""

    def __call__(self, texts, *more, **options):
        logits = self.work(texts, *more, **options).clone()
        logits[[self.word in text for text in texts]] = float("nan")
        return logits


def test_a_text_with_logits_that_are_not_finite_fails_alone(fitted, load, serving, texts):
    systems = load(fitted[1])
    encoder = systems[0].pipeline.encoder
    encoder.logits = NotFinite(encoder.logits, "boom", None)
    asks = [Ask((text,), PredictOptions(), None, (None,), write=False) for text in ("boom", *texts[:3])]
    with serving(systems) as client:
        ends = Queue()
        tickets = [Ticket(ask, lambda event, ask=ask: ends.put((ask.texts[0], event[1]))) for ask in asks]
        with systems[0].worker._changed:  # so that all are in one batch
            systems[0].worker._arrived.extend(tickets)
            systems[0].worker._changed.notify()
        found = dict(ends.get(timeout=60) for _ in tickets)
        assert found.pop("boom").status == 500
        assert set(found.values()) == {None}
        assert client.get("/health").status == 200
        encoder.logits.word = ""
        assert client.predict({"text": texts[0]}).status == 500
        assert client.get("/health").status == 503


def test_a_bug_is_counted_and_told_as_one(client, monkeypatch):
    monkeypatch.setattr(app, "library_versions", lambda: 1 / 0)
    found = client.get("/info")
    assert found.status == 500
    assert "bug in unskew (ZeroDivisionError)" in found.json["detail"]
    assert 'unskew_requests_total{route="/info",status="500"} 1.0' in client.get("/metrics").text


def test_a_bundle_replaced_on_disk_changes_nothing_and_is_said(fitted, load, serving, texts, tmp_path):
    shutil.copytree(fitted[1], tmp_path / "bundle")
    with serving(load(tmp_path / "bundle")) as client:
        body = {"texts": texts[:3], "generation": {"max_new_tokens": 4}}
        before = client.predict(body).json
        assert client.get("/info").json["models"][0]["replaced_on_disk"] is False
        for file in (tmp_path / "bundle").rglob("*"):
            if file.is_file():
                file.write_bytes(b"\0" * file.stat().st_size)
        assert client.predict(body).json == before
        assert client.get("/info").json["models"][0]["replaced_on_disk"] is True
        shutil.rmtree(tmp_path / "bundle")
        assert client.get("/info").json["models"][0]["replaced_on_disk"] is True
