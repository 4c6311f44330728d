"""Synthetic rows: written, judged, compared, with provenance; and what a fit makes of them."""

import dataclasses
import json
import shutil

import pytest
import torch

from unskew.cli.main import main
from unskew.common import UserError, write_jsonl
from unskew.corpus import Columns, NearDuplicates, Record, Topics
from unskew.decoder import GenerationSettings
from unskew.encoder import relabel_rows
from unskew.pipeline import DataSettings, FilterSettings, HybridPipeline, Synthesis, fit, read_sets
from unskew.pipeline.synthesis.fill_topics import synthesise
from unskew.pipeline.synthesis.filtering import SyntheticFilter
from unskew.pipeline.synthesis.results import PROVENANCE, TopicCounts
from unskew.pipeline.synthesis.text_generator import Candidate
from unskew.training import PhaseSettings


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def written(fitted, tiny, tmp_path_factory):
    """What the command writes for the one topic with under 15 rows, with a lenient filter, and its options."""
    output = tmp_path_factory.mktemp("synthetic") / "rows.jsonl"
    longer = PhaseSettings(epochs=12, learning_rate=1e-2, patience=12)
    options = {
        "threshold": 15,
        "filter": FilterSettings(agreement=0.35, similarity=0.95, min_words=3),
        "decoder": dataclasses.replace(tiny.decoder, noisy=longer),
        "max_text_tokens": 24,
        "device": "cpu",
    }
    synthesise(str(fitted[1]), tiny.data, str(output), **options)
    return output, options


def test_kept_rows_are_agreed_to_unlike_any_other_and_say_where_they_come_from(written, fitted, tiny):
    output, lenient = written[0], written[1]["filter"]
    kept, sets = read(output), read_sets(tiny.data, 0)
    assert 0 < len(kept) <= 15 - 7
    judged = HybridPipeline.from_pretrained(fitted[1], device="cpu").with_target_prior("uniform")
    known = NearDuplicates(lenient.similarity)
    for record in (*sets.train, *sets.validation, *sets.noisy):
        known.add(record.id, record.text)
    probabilities = judged.probabilities([row["text"] for row in kept])
    trained = {record.id: record for record in sets.train}
    for row, own in zip(kept, probabilities, strict=True):
        assert set(row) == {"id", "text", "topic", "target", *PROVENANCE}
        assert row["topic"] == "football"
        assert row["confidence"] == pytest.approx(own[judged.topics.index("football")].item(), abs=1e-3)
        assert row["confidence"] >= lenient.agreement
        assert known.like(row["text"]) is None
        known.add(row["id"], row["text"])
        assert (row["source"] == "new") == (row["paraphrase_of"] is None)
        assert row["paraphrase_of"] is None or trained[row["paraphrase_of"]].topic == "football"
        assert (row["seed"], row["model"]) == (0, "bundle")
    outputs = judged.write([row["text"] for row in kept], [row["topic"] for row in kept])
    assert [row["target"] for row in kept] == [text or None for text in outputs]


def test_rejected_rows_say_why_and_nothing_is_lost(written):
    output, _ = written
    rejected = read(output.with_name("rows.jsonl.rejected.jsonl"))
    ids = [row["id"] for row in (*read(output), *rejected)]
    assert len(ids) == len(set(ids))
    assert sorted(int(name.rsplit("-", 1)[1]) for name in ids) == list(range(len(ids)))
    for row in rejected:
        assert row["reason"].startswith(("too short", "the encoder does not agree", "a near-duplicate of"))


def test_the_same_seed_writes_the_same_rows_and_finished_training_is_not_repeated(written, fitted, tiny, monkeypatch):
    output, options = written
    before = output.read_text()
    monkeypatch.setattr("lightning.Trainer.fit", lambda *_, **__: pytest.fail("trained again"))
    with pytest.raises(UserError, match="overwrite"):
        synthesise(str(fitted[1]), tiny.data, str(output), **options)
    synthesise(str(fitted[1]), tiny.data, str(output), overwrite=True, **options)
    assert output.read_text() == before


def test_noisy_rows_teach_the_topic_that_the_encoder_decides_on(fitted, tiny):
    sets = read_sets(tiny.data, 0)
    natural = fitted[0].with_target_prior("train")
    wrong = [dataclasses.replace(record, topic="football") for record in sets.noisy]
    found = relabel_rows(wrong, natural.encoder, natural.corrector)
    best = natural.probabilities([record.text for record in wrong]).argmax(dim=1).tolist()
    assert [record.topic for record in found] == [natural.topics.names[i] for i in best]
    assert [record.text for record in found] == [record.text for record in sets.noisy]
    assert len({record.topic for record in found}) > 1
    assert relabel_rows([], natural.encoder, natural.corrector) == []


class Judge:
    """Stands in for a pipeline: a text's own number says how sure the encoder is of its topic."""

    topics = Topics(("oil", "gas"), (3, 30))

    def probabilities(self, texts):
        return torch.tensor([[float(text.split()[0]), 0.0] for text in texts])


def sift(monkeypatch, texts, asked=9, attempts=1, settings=FilterSettings(min_words=3)):  # noqa: B008
    monkeypatch.setattr(
        "unskew.pipeline.synthesis.filtering.write_candidates",
        lambda generator, numbers, records, options: (
            Candidate(texts[i], "oil", "new", None) for i in numbers["oil"] if i < len(texts)
        ),
    )
    duplicates = NearDuplicates(settings.similarity)
    duplicates.add("real-1", "0.9 the price of crude oil rose again in early trade on monday")
    result = Synthesis({"oil": TopicCounts(3, asked)})
    synthetic_filter = SyntheticFilter(
        Judge(),  # pyright: ignore[reportArgumentType]
        None,  # pyright: ignore[reportArgumentType]
        [Record("x", "1", "oil")],
        duplicates,
        settings,
        GenerationSettings(seed=4),
        "some-bundle",
    )
    synthetic_filter.fill(result, attempts)
    return result


def test_every_objection_is_named_and_counted(monkeypatch):
    texts = [
        "0.9 a new pipeline opens in the north of the country",
        "",
        "0.9 short",
        "0.4 the ministers met and talked of nothing in particular",
        "0.9 the price of crude oil rose again in early trade on tuesday",
        "0.8 A new pipeline  opens in the North of the country",
        "0.7 refineries shut down after a storm over the gulf coast",
    ]
    result = sift(monkeypatch, texts)
    assert [row["text"] for row in result.kept] == [texts[0], texts[6]]
    assert [row["reason"] for row in result.rejected] == [
        "too short",
        "too short",
        "the encoder does not agree",
        "a near-duplicate of real-1",
        "a near-duplicate of synthetic-4-0",
    ]
    assert result.tallies["oil"] == TopicCounts(rows=3, asked=9, written=7, agreed=4, duplicates=2, kept=2)
    assert result.missing == {"oil": 7}


def test_a_topic_is_tried_again_for_what_it_lacks_and_not_padded(monkeypatch):
    texts = [f"{0.9 if i % 2 else 0.1} {' '.join(f'w{i}x{j}' for j in range(9))}" for i in range(20)]
    result = sift(monkeypatch, texts, asked=4, attempts=5)
    assert result.tallies["oil"].kept == 4
    assert result.tallies["oil"].written == 4 + 2 + 1 + 1
    assert not result.missing
    assert sift(monkeypatch, texts[:3], asked=4, attempts=5).missing == {"oil": 3}


@pytest.mark.parametrize("column", ["paraphrase_of", "of"])  # the second was its name until 0.1.0
def test_synthetic_rows_join_the_training_rows_and_no_counts(corpus, tmp_path, column):
    data = DataSettings(train=str(corpus / "train.jsonl"), noisy=str(corpus / "noisy.jsonl"))
    plain = read_sets(data, 0)
    leak = plain.validation[0]
    made = [
        {
            "id": "s1",
            "text": "a goal in the last minute",
            "topic": "football",
            "target": "football desk",
            column: None,
        },
        {"id": "s2", "text": f" {leak.text} ", "topic": leak.topic, "target": "x"},
        {"id": "s3", "text": "nearly a held-out text", "topic": leak.topic, "target": "x", column: leak.id},
        {
            "id": "s4",
            "text": "nearly a text",
            "topic": plain.train[0].topic,
            "target": "x",
            column: plain.train[0].id,
        },
    ]
    write_jsonl(tmp_path / "synthetic.jsonl", made)
    sets = read_sets(dataclasses.replace(data, synthetic=str(tmp_path / "synthetic.jsonl")), 0)
    assert sets.train == [
        *plain.train,
        Record("a goal in the last minute", "s1", "football", "football desk", synthetic=True),
        Record("nearly a text", "s4", plain.train[0].topic, "x", paraphrase_of=plain.train[0].id, synthetic=True),
    ]
    assert (sets.validation, sets.noisy, sets.topics) == (plain.validation, plain.noisy, plain.topics)
    assert sets.topics.counts == (60, 24, 8)


def test_synthetic_rows_of_an_unknown_topic_are_refused(corpus, tmp_path):
    write_jsonl(tmp_path / "synthetic.jsonl", [{"id": "s", "text": "rain", "topic": "weather"}])
    data = DataSettings(train=str(corpus / "train.jsonl"), synthetic=str(tmp_path / "synthetic.jsonl"))
    with pytest.raises(UserError, match="weather"):
        read_sets(data, 0)


def test_a_fit_on_synthetic_rows_knows_the_prior_it_taught(tiny, tmp_path):
    made = [{"id": f"s{i}", "text": f"goal keeper {i}", "topic": "football", "target": "f"} for i in range(44)]
    write_jsonl(tmp_path / "synthetic.jsonl", made)
    data = dataclasses.replace(tiny.data, synthetic=str(tmp_path / "synthetic.jsonl"))
    plain_loss = dataclasses.replace(tiny.encoder.loss, name="cross_entropy", weights="none")
    encoder = dataclasses.replace(tiny.encoder, loss=plain_loss, sampling_ratio=None)
    quick = dataclasses.replace(encoder.clean, epochs=1)
    encoder = dataclasses.replace(encoder, clean=quick, noisy=dataclasses.replace(quick, epochs=0))
    pipeline = fit(dataclasses.replace(tiny, data=data, encoder=encoder, decoder=None), tmp_path / "bundle")
    assert pipeline.topics.counts == (60, 24, 8)
    assert pipeline.corrector.model_prior == pytest.approx([51 / 122, 20 / 122, 51 / 122])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"threshold": 3}, "every topic has 3 training rows"),
        ({"threshold": 0}, "threshold is 0"),
        ({"per_topic": 0}, "per_topic is 0"),
        ({"attempts": 0}, "attempts is 0"),
    ],
)
def test_wrong_options_are_said_before_any_training(fitted, tiny, tmp_path, changes, said):
    with pytest.raises(UserError, match=said):
        synthesise(str(fitted[1]), tiny.data, str(tmp_path / "rows.jsonl"), device="cpu", **changes)


def test_wrong_data_is_said_before_any_training(fitted, tiny, tmp_path, make_rows):
    output = str(tmp_path / "rows.jsonl")
    again = dataclasses.replace(tiny.data, synthetic="rows.jsonl")
    with pytest.raises(UserError, match="data.synthetic is for fit"):
        synthesise(str(fitted[1]), again, output)
    taken = dataclasses.replace(tiny.data, columns=Columns(text="source"))
    with pytest.raises(UserError, match="columns source are reserved for the provenance"):
        synthesise(str(fitted[1]), taken, output)
    write_jsonl(tmp_path / "other.jsonl", make_rows({"harvest": 9, "harbour": 9}, 0, "r"))
    with pytest.raises(UserError, match="differ from the bundle's: only the bundle has 'football'; give the set that"):
        synthesise(str(fitted[1]), DataSettings(train=str(tmp_path / "other.jsonl")), output, device="cpu")
    with pytest.raises(UserError, match="agreement is 0, must be"):
        FilterSettings(agreement=0)


def test_topics_that_the_fit_merged_are_named_with_the_option(fitted, tmp_path, make_rows, monkeypatch):
    rows = make_rows({"harvest": 9, "harbour": 9, "football": 9}, 0, "r")
    write_jsonl(tmp_path / "train.jsonl", [*rows, {**rows[0], "id": "x", "topic": "FootBall"}])
    whole = fitted[0]
    description = {"settings": {"data": {"merge_spellings": True}}}
    merged = HybridPipeline(whole.encoder, whole.decoder, whole.corrector, description)
    monkeypatch.setattr(HybridPipeline, "from_pretrained", lambda *_: merged)
    said = "only data.train has 'FootBall'; give --data.merge_spellings true, as the fit had"
    with pytest.raises(UserError, match=said):
        synthesise("bundle", DataSettings(str(tmp_path / "train.jsonl")), tmp_path / "rows.jsonl")


def test_the_command_line_takes_the_options(fitted, corpus, tmp_path, capsys):
    arguments = ["synthesise", "--model", str(fitted[1]), "--data.train", str(corpus / "train.jsonl")]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--output", str(tmp_path / "rows.jsonl"), "--threshold", "3", "--device", "cpu"])
    assert ended.value.code == 2
    assert "every topic has 3 training rows or more" in capsys.readouterr().err


LOSS = {"name": "cross_entropy", "weights": "inverse_frequency"}


@pytest.mark.parametrize("where", ["bundle", "config"])
def test_a_topic_loss_on_the_noisy_set_is_no_obstacle(where, fitted, tiny, tmp_path, capsys):
    """Neither the one that a bundle's decoder was fitted with, nor one in the config of the command."""
    bundle = shutil.copytree(fitted[1], tmp_path / "bundle")
    manifest = json.loads((bundle / "unskew.json").read_text())
    decoder = manifest["description"]["settings"]["decoder"]
    if where == "bundle":
        decoder["noisy_topic_loss"] = LOSS
        (bundle / "unskew.json").write_text(json.dumps(manifest))
    config = {
        "data": {"train": tiny.data.train, "noisy": tiny.data.noisy},
        "decoder": {"scratch": decoder["scratch"], "noisy_topic_loss": LOSS, "noisy": {"epochs": 1}},
    }
    (tmp_path / "c.yaml").write_text(json.dumps(config if where == "config" else {"data": config["data"]}))
    given = ["--config", str(tmp_path / "c.yaml"), "--model", str(bundle), "--output", str(tmp_path / "rows.jsonl")]
    with pytest.raises(SystemExit) as ended:
        main(["synthesise", *given, "--threshold", "10", "--attempts", "1", "--max_text_tokens", "8"])
    assert ended.value.code == 0
    assert len(read(tmp_path / "rows.jsonl.rejected.jsonl")) + len(read(tmp_path / "rows.jsonl")) == 2
