"""An inspection before a fit: what it finds, what it writes, what it refuses."""

import dataclasses
import html
import json
import shlex

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertForMaskedLM

from unskew.balance import LossSettings
from unskew.cli.main import main, make_parser
from unskew.common import UserError, make_console, read_artefact, write_jsonl
from unskew.corpus import Columns
from unskew.decoder import DecoderSettings
from unskew.encoder import EncoderSettings
from unskew.inspection import Inspection, inspect, print_inspection
from unskew.inspection.advice import recommended
from unskew.pipeline import DataSettings, FitSettings, fit, read_sets
from unskew.runtime import train_tokenizer
from unskew.training import PhaseSettings

CPU = {"accelerator": "cpu", "devices": 1}


@pytest.fixture(scope="module")
def faulty(make_rows, tmp_path_factory):
    """A clean set with planted faults, and which rows have them."""
    rows = make_rows({"harvest": 80, "harbour": 50, "football": 12}, 0, "row")
    planted = {"wrong": [row["id"] for row in rows if row["topic"] == "harvest"][:4]}
    for row in rows:
        if row["id"] in planted["wrong"]:
            row["topic"] = "harbour"
    sources = [row for row in rows if row["topic"] == "harvest"][10:13]
    rows += [{**row, "id": f"{row['id']}-again", "text": f" {row['text'].upper()}  "} for row in sources]
    rows += [{**sources[0], "id": "disputed", "topic": "football"}, {**sources[0], "id": "blank", "text": "  "}]
    path = tmp_path_factory.mktemp("faulty") / "train.jsonl"
    write_jsonl(path, rows)
    return path, planted


@pytest.fixture(scope="module")
def inspected(faulty, tmp_path_factory):
    output = tmp_path_factory.mktemp("inspected") / "out"
    return inspect(DataSettings(str(faulty[0])), output), output


def suspects(folder):
    return [json.loads(line) for line in (folder / "suspects.jsonl").read_text("utf-8").splitlines()]


def test_planted_faults_are_found(inspected, faulty):
    found, output = inspected
    assert found.unusable == 1
    assert "train.jsonl, line" in found.unusable_examples[0]
    assert found.repeats.exact == 4
    listed = {row["id"]: row for row in suspects(output)}
    wrong = [name for name in faulty[1]["wrong"] if name in listed]
    assert len(wrong) >= 3
    assert all(listed[name]["suggestion"] == "harvest" for name in wrong)
    assert "the same text is" in listed["disputed"]["why"]
    assert found.bands == {"many": 0, "medium": 2, "few": 1}
    assert sum(topic.rows for topic in found.topics) == found.rows == 146


def test_the_files_say_what_the_call_returned(inspected):
    found, output = inspected
    assert read_artefact(output / "inspection.json", Inspection).model_dump() == found.model_dump()
    page = (output / "inspection.html").read_text("utf-8")
    assert all(topic.topic in page for topic in found.topics)
    assert found.suspects == len(suspects(output))


def test_the_noisy_set_stays_on_disk_and_leaves_nothing_there(faulty, tmp_path, monkeypatch):
    monkeypatch.setattr("unskew.pipeline.datasets._noisy_in_memory", lambda *_: pytest.fail("it was read into memory"))
    found = inspect(DataSettings(str(faulty[0]), noisy=str(faulty[0])), tmp_path / "out")
    assert found.noisy.rows == sum(topic.noisy_rows for topic in found.topics) > 0
    assert [place.name for place in tmp_path.iterdir()] == ["out"]


def test_corrected_suspects_are_what_a_fit_reads(inspected, faulty, tmp_path):
    rows = suspects(inspected[1])
    for row in rows:
        row["topic"] = "harvest" if row["id"] in faulty[1]["wrong"] else None
    write_jsonl(tmp_path / "suspects.jsonl", rows)
    sets = read_sets(DataSettings(str(faulty[0]), corrections=str(tmp_path / "suspects.jsonl")), 0)
    topics = {record.id: record.topic for record in sets.clean}
    assert sum(topics[name] == "harvest" for name in faulty[1]["wrong"]) >= 3
    assert "disputed" not in topics


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": "nobody", "text": "x", "topic": "harvest"}, "is not among its rows"),
        ({"id": "row-harvest-50", "text": "another text", "topic": "harvest"}, "has another text there"),
        ({"id": "row-harvest-50", "text": " ", "topic": "harvest"}, "corrections need `id`, `text` and `topic`"),
    ],
)
def test_corrections_of_other_rows_are_refused(faulty, tmp_path, row, said):
    write_jsonl(tmp_path / "suspects.jsonl", [row])
    with pytest.raises(UserError, match=said):
        read_sets(DataSettings(str(faulty[0]), corrections=str(tmp_path / "suspects.jsonl")), 0)


def test_its_figures_are_those_of_the_fit(corpus, tmp_path):
    tokenizer = train_tokenizer(["wheat barley ship cargo goal keeper"], 300)
    tokenizer.save_pretrained(tmp_path / "base")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id, initializer_range=0.2,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(tmp_path / "base")
    encoder = EncoderSettings(str(tmp_path / "base"), "probe", max_tokens=32, trainer=CPU)
    data = DataSettings(str(corpus / "train.jsonl"), str(corpus / "noisy.jsonl"))
    found = inspect(data, tmp_path / "inspection", encoder=encoder)
    fitted = fit(FitSettings(data, encoder, None), tmp_path / "bundle")
    assert found.probe is not None
    expected = fitted.metrics["validation_by_target_prior"]
    for prior, metrics in found.probe.metrics.items():
        for name, value in metrics.items():
            assert value == pytest.approx(expected[prior][name], abs=1e-6), (prior, name)
    assert fitted.metrics["encoder"] == [f"probe: {'; '.join(found.probe.notes)}"]
    assert {topic.topic: topic.rows for topic in found.topics} == dict(
        zip(fitted.topics.names, fitted.topics.counts, strict=True)
    )


def test_a_noisy_set_is_compared_with_the_clean_one(corpus, tmp_path):
    rows = [json.loads(line) for line in (corpus / "noisy.jsonl").read_text().splitlines()]
    write_jsonl(tmp_path / "noisy.jsonl", [*rows, {"text": "stars and comets", "topic": "astronomy"}])
    found = inspect(DataSettings(str(corpus / "train.jsonl"), str(tmp_path / "noisy.jsonl")), tmp_path / "out")
    assert found.noisy is not None
    assert found.noisy.unknown_topics == {"astronomy": 1}
    assert found.noisy.agreement is not None
    assert found.noisy.agreement > 0.9
    assert found.noisy.right is not None
    assert found.noisy.right > 0.9


def test_topics_spelt_alike_are_shown_apart_and_merged_by_the_command(make_rows, tmp_path, capsys):
    names = {"harvest": "crop news", "harbour": "Crop  news", "football": "football"}
    rows = make_rows({"harvest": 9, "harbour": 6, "football": 9}, 0, "row")
    for row in rows:
        row["topic"] = names[row["topic"]]
    write_jsonl(tmp_path / "train.jsonl", rows)
    data = DataSettings(str(tmp_path / "train.jsonl"))
    found = inspect(data, tmp_path / "out", decoder=None)
    assert found.advice[0].what.startswith("give --data.merge_spellings true")
    assert r"as 'Crop \x20news' and 'crop news'" in found.advice[0].why
    assert "--data.merge_spellings true" in found.command
    assert [topic.topic for topic in found.topics] == ["crop news", "football", "Crop  news"]
    print_inspection(found, make_console())
    printed, page = capsys.readouterr().out, (tmp_path / "out" / "inspection.html").read_text("utf-8")
    for name in (r"'Crop \x20news'", "'crop news'", "football"):
        assert name in printed
        assert name in html.unescape(page)
    assert "'football'" not in printed
    merged = inspect(dataclasses.replace(data, merge_spellings=True), tmp_path / "merged", decoder=None)
    assert "--data.merge_spellings true" in merged.command
    assert not any("merge_spellings" in advice.what for advice in merged.advice)


def test_nothing_is_said_of_the_labels_of_synthetic_rows(corpus, make_rows, tmp_path):
    wrong = [{**row, "topic": "football"} for row in make_rows({"harvest": 4}, 5, "synthetic")]
    write_jsonl(tmp_path / "synthetic.jsonl", wrong)
    data = DataSettings(str(corpus / "train.jsonl"), synthetic=str(tmp_path / "synthetic.jsonl"))
    found = inspect(data, tmp_path / "out")
    assert not [row for row in suspects(tmp_path / "out") if row["id"].startswith("synthetic")]
    assert found.probe.rows == 92


def test_a_noisy_set_of_other_topics_is_said_to_be_useless(corpus, tmp_path):
    write_jsonl(tmp_path / "noisy.jsonl", [{"text": f"comet {n}", "topic": "astronomy"} for n in range(9)])
    found = inspect(DataSettings(str(corpus / "train.jsonl"), str(tmp_path / "noisy.jsonl")), tmp_path / "out")
    assert found.noisy is not None
    assert (found.noisy.rows, found.noisy.agreement) == (0, None)
    assert any("none of its topics is in the clean set" in advice.why for advice in found.advice)
    assert "--data.noisy" not in found.command


@pytest.mark.parametrize("topics", [["only"] * 5, ["only"]], ids=["one topic", "one row"])
def test_a_set_with_nothing_to_tell_apart_is_one_line(topics, tmp_path, capsys):
    write_jsonl(tmp_path / "train.jsonl", [{"text": f"text {n}", "topic": name} for n, name in enumerate(topics)])
    with pytest.raises(SystemExit) as ended:
        main(["inspect", "--data.train", str(tmp_path / "train.jsonl"), "--output", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert "only the topic 'only'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_texts_that_are_all_equal_are_said_and_nothing_is_expected(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", [{"text": "the same", "topic": "ab"[n % 2]} for n in range(30)])
    found = inspect(DataSettings(str(tmp_path / "train.jsonl")), tmp_path / "out")
    assert found.repeats.exact == 29
    assert found.repeats.two_topics >= 14
    assert found.probe is not None
    assert (found.probe.rows, found.probe.metrics) == (0, {})


def test_more_topics_than_a_probe_can_tell_apart(tmp_path, monkeypatch):
    monkeypatch.setattr("unskew.inspection.probing.MOST_CELLS", 200**2 - 1)
    write_jsonl(tmp_path / "train.jsonl", [{"text": f"word{n} and {n**3}", "topic": f"t{n}"} for n in range(200)])
    found = inspect(DataSettings(str(tmp_path / "train.jsonl")), tmp_path / "out")
    assert found.probe is None
    assert found.advice[0].what.startswith("check the column of topics")


def test_the_command_prints_what_it_found_and_goes_on_from_a_config(faulty, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["inspect", "--data.train", str(faulty[0]), "--output", str(tmp_path / "out"), "--decoder", "null"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0
    assert "harvest" in printed
    assert "doubted labels" in printed
    assert f"--data.corrections {tmp_path / 'out' / 'suspects.jsonl'}" in printed.replace("\n", "")


def test_another_scripts_texts_and_hostile_ones_are_read(tmp_path):
    texts = [
        "今日油价上涨分析师表示需求强劲",
        "法院判决一家公司支付罚款",
        "<script>alert(1)</script>",
        "🙂🙂",
        "Цены на нефть",
    ]
    rows = [{"text": f"{text}{n}", "topic": f"t{place}"} for n in range(4) for place, text in enumerate(texts)]
    write_jsonl(tmp_path / "train.jsonl", rows)
    found = inspect(dataclasses.replace(DataSettings(str(tmp_path / "train.jsonl"))), tmp_path / "out")
    assert found.scripts == {"Han": 8, "Latin": 4, "none": 4, "Cyrillic": 4}
    assert "<script>" not in (tmp_path / "out" / "inspection.html").read_text("utf-8")


GIVEN = st.fixed_dictionaries(
    {},
    optional={
        "corrections": st.just("my corrections.jsonl"),
        "synthetic": st.just("written.jsonl"),
        "validation_share": st.floats(0.1, 0.5),
        "columns": st.builds(Columns, text=st.sampled_from(["body", "a b"]), id=st.none() | st.just("key")),
    },
)
ENCODERS = st.builds(
    EncoderSettings,
    max_tokens=st.integers(8, 512),
    noisy_loss=st.none() | st.just(LossSettings("focal", gamma=1.5)),
    loss=st.sampled_from([LossSettings(), LossSettings("ldam", weights={"it's": 2.0, "$x": 1.0})]),
    clean=st.builds(PhaseSettings, epochs=st.integers(1, 9), checkpoint_minutes=st.sampled_from([30.0, 5.0])),
    trainer=st.sampled_from([{}, {"accelerator": "cpu", "devices": 2}]),
)
DECODERS = st.none() | st.builds(
    DecoderSettings,
    prompt=st.sampled_from(["auto", "Read {text}\nand 'write'"]),
    fairness=st.booleans(),
    topic_loss=st.none() | st.just(LossSettings()),
    noisy=st.builds(PhaseSettings, max_tokens=st.sampled_from([None, "200M"])),
)


@settings(max_examples=8, deadline=None)
@given(GIVEN, ENCODERS, DECODERS)
def test_the_command_has_every_setting_given(inspected, given, encoder, decoder):
    found = inspected[0].model_copy(update={"targets": inspected[0].targets.model_copy(update={"rows": 9})})
    data = DataSettings("clean rows.jsonl", **given)
    parser, _ = make_parser("fit")
    arguments = shlex.split(recommended(data, "suspects.jsonl", found, encoder, decoder))[2:]
    asked = vars(parser.instantiate(parser.parse_args(arguments)))
    assert asked["data"] == dataclasses.replace(data, corrections=given.get("corrections", "suspects.jsonl"))
    assert (asked["encoder"], asked["decoder"]) == (encoder, decoder)


def test_the_command_leaves_objects_out(inspected):
    encoder = EncoderSettings(trainer={"callbacks": [object()], "accelerator": "cpu"})
    command = recommended(DataSettings("rows.jsonl"), "suspects.jsonl", inspected[0], encoder, None)
    assert """--encoder.trainer '{"accelerator": "cpu"}'""" in command
