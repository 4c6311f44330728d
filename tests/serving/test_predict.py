"""What a client of /predict relies on: the pipeline's own answers, whatever comes at the same time."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from unskew.balance import DecisionSettings, adapt_target, posterior
from unskew.decoder import GenerationSettings
from unskew.pipeline import PredictOptions

SHORT = {"max_new_tokens": 6}
GENERATION = GenerationSettings(max_new_tokens=6)


def same(row, result):
    assert row["topic"] == result.topic
    assert row["output"] == result.output
    assert row["confidence"] == pytest.approx(result.confidence, abs=1e-5)
    assert list(row["topics"]) == list(result.topics)
    assert row["topics"] == pytest.approx(result.topics, abs=1e-5)


@pytest.mark.parametrize(
    ("asked", "options", "prior"),
    [
        ({}, {}, None),
        ({"top_k": 1, "fairness": True}, {"top_k": 1, "fairness": True}, None),
        ({"target_prior": "train"}, {}, "train"),
        ({"target_prior": {"harvest": 0.25, "football": 0.75}}, {}, {"harvest": 0.25, "football": 0.75}),
        ({"min_confidence": 0.9}, {"min_confidence": 0.9}, None),
        ({"min_confidence": 0.9, "write_undecided": True}, {"min_confidence": 0.9, "write_undecided": True}, None),
    ],
)
def test_answers_are_the_pipelines(client, pipeline, texts, asked, options, prior, monkeypatch):
    monkeypatch.setattr(pipeline.decoder, "fairness", True)
    found = client.predict({"texts": texts[:6], "generation": SHORT, **asked})
    assert found.status == 200
    aimed = pipeline if prior is None else pipeline.with_target_prior(prior)
    for row, result in zip(found.json["results"], aimed(texts[:6], generation=GENERATION, **options), strict=True):
        same(row, result)


def test_a_tuned_decision_is_fitted_once_for_a_prior_and_its_cross_fit_once_for_all(
    serving, load, fitted, texts, tmp_path, monkeypatch
):
    tuned = fitted[0].with_decision(DecisionSettings(undecided=0.2))
    tuned.save_pretrained(tmp_path / "tuned")
    shares = {"harvest": 0.25, "football": 0.75}
    logits = tuned.encoder.logits(texts[:6])
    expected = [tuned.with_target_prior(p).decide(logits, PredictOptions()) for p in ("train", shares)]
    calls = []
    for name in ("fit_decision", "cross_fitted"):
        work = getattr(posterior, name)
        monkeypatch.setattr(posterior, name, lambda *given, work=work, name=name: calls.append(name) or work(*given))
    with serving(load(tmp_path / "tuned")) as own:
        for prior, rows in zip(("train", shares) * 2, expected * 2, strict=True):
            found = own.predict({"texts": texts[:6], "write": False, "target_prior": prior}).json["results"]
            assert [row["topic"] for row in found] == [row.result.topic for row in rows]
    assert sorted(calls) == ["cross_fitted", "fit_decision", "fit_decision"]


def test_one_text_is_answered_as_many_are(client, texts):
    alone = client.predict({"text": texts[0], "generation": SHORT}).json
    assert alone == client.predict({"texts": texts[:1], "generation": SHORT}).json
    assert alone["model"] == "bundle" or alone["model"].endswith("/bundle")


def test_sampling_is_the_callers_seed(client, pipeline, texts):
    asked = {"sample": True, "temperature": 1.5, "seed": 3, **SHORT}
    found = client.predict({"texts": texts[:4], "generation": asked}).json["results"]
    expected = pipeline(texts[:4], generation=GenerationSettings(6, sample=True, temperature=1.5, seed=3))
    assert [row["output"] for row in found] == [result.output for result in expected]


def test_guidance_is_an_option_of_a_request(client, pipeline, texts, monkeypatch):
    monkeypatch.setattr(pipeline.decoder, "unguided", True)
    asked = {"texts": texts[:4], "topic": "football", "generation": {"guidance": 3.0, **SHORT}}
    found = [row["output"] for row in client.predict(asked).json["results"]]
    expected = pipeline.write(texts[:4], ["football"] * 4, GenerationSettings(6, guidance=3.0))
    assert found == expected
    told = "".join(data["text"] for name, data in client.events({**asked, "texts": texts[:1]}) if name == "text")
    assert told == found[0]
    described = client.get("/openapi.json").json["components"]["schemas"]["GenerationSettings"]["properties"]
    assert "classifier-free guidance" in described["guidance"]["description"]
    assert client.get("/info").json["models"][0]["guides"]


def test_a_forced_topic_is_what_the_output_is_written_under(client, pipeline, texts):
    body = {"texts": texts[:3], "generation": SHORT}
    forced = ["football", None, "harbour"]
    found = client.predict({**body, "topic": forced}).json["results"]
    free = client.predict(body).json["results"]
    assert [row.get("forced_topic") for row in found] == forced
    assert [row["topics"] for row in found] == [row["topics"] for row in free]
    topics = [topic or row["topic"] for topic, row in zip(forced, free, strict=True)]
    assert [row["output"] for row in found] == pipeline.write(texts[:3], topics, GENERATION)
    all_of_them = client.predict({**body, "topic": "football"}).json["results"]
    assert [row["output"] for row in all_of_them] == pipeline.write(texts[:3], ["football"] * 3, GENERATION)


def test_topics_alone(client, texts):
    [row] = client.predict({"text": texts[0], "write": False}).json["results"]
    assert row["output"] is None
    assert row["topic"] is not None


def test_any_prior_follows_from_the_log_probabilities(client, texts):
    info = client.get("/info").json["models"][0]["topics"]
    body = {"texts": texts, "write": False, "log_probabilities": True}
    target = torch.tensor([0.7, 0.1, 0.2])
    prior = dict(zip([topic["name"] for topic in info], target.tolist(), strict=True))
    rows = client.predict({**body, "target_prior": prior}).json["results"]
    train = torch.tensor([topic["training_share"] for topic in info])
    for row in rows:
        shares = (torch.tensor(row["log_probabilities"]) + target.log() - train.log()).softmax(-1)
        assert row["topics"] == pytest.approx(dict(zip(prior, shares.tolist(), strict=True)), abs=1e-5)


def test_a_prior_can_be_taken_from_the_texts(client, pipeline, texts):
    found = client.predict({"texts": texts, "write": False, "target_prior": "adaptive"}).json
    expected = adapt_target(pipeline.corrector, pipeline.encoder.logits(texts))
    assert found["target_prior"] == pytest.approx(expected.shares, abs=1e-5)
    result = next(pipeline.with_target_prior(expected.shares)(texts[:1], generation=GENERATION))
    assert found["results"][0]["topics"] == pytest.approx(result.topics, abs=1e-5)


def test_a_stream_tells_topics_then_the_output_as_it_grows(client, texts):
    body = {"texts": texts[:2], "generation": {"max_new_tokens": 12}}
    events = client.events(body)
    whole = client.predict(body).json["results"]
    assert [name for name, _ in events][:2] == ["topics", "topics"]
    assert events[-1][0] == "end"
    grown = 0
    for row, expected in enumerate(whole, 1):
        own = [(name, data) for name, data in events if data.get("row") == row]
        assert own[0][1]["topics"] == pytest.approx(expected["topics"], abs=1e-5)
        parts = [data["text"] for name, data in own if name == "text"]
        grown += len(parts)
        assert "".join(parts) == expected["output"]
        assert own[-1][0] == "result"
        assert own[-1][1]["output"] == expected["output"]
    assert grown > 2


def test_requests_at_the_same_time_share_batches_and_keep_their_own_answers(client, pipeline, texts, monkeypatch):
    monkeypatch.setattr(pipeline.decoder, "fairness", True)
    priors = ["train", "adaptive", {"harvest": 0.25, "football": 0.75}]
    kinds = [{"top_k": 1}, {"fairness": True}, {"write": False}, {"generation": SHORT}, {"sets": 0.3}]
    kinds += [{"target_prior": prior} for prior in priors]
    bodies = [{"text": text, **kind} for text in texts[:6] for kind in kinds]
    alone = [client.predict(body).json for body in bodies]
    with ThreadPoolExecutor(len(bodies)) as many:
        together = list(many.map(lambda body: client.predict(body).json, bodies))
    for one, other in zip(alone, together, strict=True):
        [first], [second] = one["results"], other["results"]
        for name in ("topic", "topic_set", "output"):
            assert first.get(name) == second.get(name)
        assert first["topics"] == pytest.approx(second["topics"], abs=1e-5)
    metrics = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[0] != "#")
    first = f'model="{alone[0]["model"]}",stage="encoder"'
    batches = {name: float(value) for name, value in metrics.items() if first in name}
    [requests] = [value for name, value in batches.items() if name.startswith("unskew_batch_rows_count")]
    [rows] = [value for name, value in batches.items() if name.startswith("unskew_batch_rows_sum")]
    assert requests < rows


def test_the_second_system_is_asked_by_its_name(client, systems, texts):
    first, second = (system["name"] for system in client.get("/info").json["models"])
    assert first != second
    found = client.predict({"text": texts[0], "model": second, "generation": SHORT}).json
    assert found["model"] == second
    same(found["results"][0], next(systems[1].pipeline(texts[:1], generation=GENERATION)))
    assert set(found["results"][0]["topics"]) < set(client.predict({"text": texts[0]}).json["results"][0]["topics"])


def test_two_systems_keep_their_own_topics(client, texts):
    second = client.get("/info").json["models"][1]
    [missing] = set(topic_names(client, 0)) - set(topic_names(client, 1))
    refused = client.predict({"text": texts[0], "model": second["name"], "topic": missing})
    assert refused.status == 422
    assert f"no topic {missing!r}; there are {', '.join(topic_names(client, 1))}" in refused.json["detail"]
    prior = client.predict({"text": texts[0], "model": second["name"], "target_prior": {missing: 1.0}})
    assert prior.status == 422
    assert missing in prior.json["detail"]
    bodies = [{"text": text, "model": name} for text in texts[:4] for name in (second["name"], None)]
    with ThreadPoolExecutor(len(bodies)) as many:
        found = list(many.map(lambda body: client.predict(body).json, bodies))
    for body, answer in zip(bodies, found, strict=True):
        assert set(answer["results"][0]["topics"]) == set(topic_names(client, 0 if body["model"] is None else 1))


def topic_names(client, system):
    return [topic["name"] for topic in client.get("/info").json["models"][system]["topics"]]


def test_stage_one_alone(fitted, load, serving, texts, pipeline):
    with serving(load(fitted[1], stage="encoder")) as client:
        [row] = client.predict({"text": texts[0]}).json["results"]
        assert row["output"] is None
        assert row["topic"] == next(pipeline(texts[:1], generation=GENERATION)).topic
        assert client.get("/info").json["models"][0]["writes"] is False
        refused = client.predict({"text": texts[0], "topic": "harvest"})
        assert refused.status == 422
        assert "writes no outputs" in refused.json["detail"]
