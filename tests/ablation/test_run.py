"""Running an ablation: equal terms where they are claimed, each run once, interrupted and resumed, no false winner."""

import json
import logging
import random
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from unskew.ablation import AblationSettings, ArmSettings, ablate
from unskew.ablation import run as running
from unskew.ablation.data import read_test, read_training
from unskew.ablation.models import Fitted, FittedStages
from unskew.ablation.ray_workers import map_seeds
from unskew.ablation.run import _Work, unequal_terms
from unskew.ablation.settings import PLAIN_LOSS
from unskew.ablation.warned import Warned
from unskew.cli.main import main
from unskew.common import UserError, write_jsonl
from unskew.decoder import DecoderSettings
from unskew.encoder import EncoderSettings
from unskew.pipeline import DataSettings
from unskew.training import PhaseSettings, ScratchSettings

TINY = ScratchSettings(layers=1, width=32, heads=2, vocabulary=400)
TRAINER = {"accelerator": "cpu", "devices": 1}
ONCE = PhaseSettings(epochs=1, learning_rate=5e-3)
CORRECTED = {"calibration": "bias_corrected_temperature", "target_prior": "uniform"}
LORA = {"adaptation": "lora"}

ARMS = {
    "decoder_plain": ArmSettings("plain", "decoder", write=True, same_start=True),
    "decoder_prior_correction": ArmSettings(
        "corrected", "decoder", write=True, same_start=True, target_prior="uniform"
    ),
    "decoder_contextual": ArmSettings("contextual", "decoder", calibration="contextual", same_start=True),
    "decoder_lora": ArmSettings("LoRA", "decoder", decoder=LORA, same_start=True),
    "decoder_focal": ArmSettings("focal", "decoder", decoder={"topic_loss": {"name": "focal"}}, same_start=True),
    "decoder_sampling": ArmSettings("sampling", "decoder", decoder={"sampling_ratio": 3}),
    "decoder_fairness": ArmSettings("fairness", "decoder", decoder={"fairness": True}, fairness=True),
    "decoder_recommended": ArmSettings("recommended", "decoder", write=True, decoder=LORA, **CORRECTED),
    "decoder_head": ArmSettings("head", "decoder", "head", decoder=LORA, encoder={"clean": {"learning_rate": 5e-4}}),
    "hybrid_full": ArmSettings("hybrid", "hybrid", "encoder", write=True, decoder=LORA, **CORRECTED),
    "hybrid_guided": ArmSettings(
        "guided",
        "hybrid",
        "encoder",
        write=True,
        decoder={**LORA, "topic_loss": None, "topic_dropout": 0.2},
        target_prior="adaptive",
        guidance=2.0,
    ),
    "hybrid_fair": ArmSettings(
        "fair", "hybrid", "encoder", write=True, decoder={**LORA, "fairness": True}, fairness=True, **CORRECTED
    ),
    "gold_topics": ArmSettings("true topics", "reference", "gold", write=True, decoder=LORA),
    "shuffled_topics": ArmSettings("wrong topics", "reference", "shuffled", write=True, decoder=LORA),
    "svm": ArmSettings("SVM", "encoder", "svm"),
    "decoder_probe": ArmSettings("probe", "decoder", "probe", decoder=LORA),
}


@pytest.fixture(scope="module")
def settings(corpus):
    return AblationSettings(
        data=DataSettings(train=str(corpus / "train.jsonl"), noisy=str(corpus / "noisy.jsonl")),
        test=str(corpus / "test.jsonl"),
        definitions=ARMS,
        encoder=EncoderSettings(scratch=TINY, max_tokens=64, noisy=ONCE, clean=ONCE, trainer=TRAINER),
        decoder=DecoderSettings(
            scratch=TINY,
            max_tokens=64,
            max_target_tokens=16,
            adaptation="full",
            topic_loss=PLAIN_LOSS,
            noisy=ONCE,
            clean=ONCE,
            trainer=TRAINER,
        ),
        seeds=(0,),
        outputs=6,
    )


def some(settings, *names, **changes):
    return replace(settings, definitions={name: ARMS[name] for name in names}, **changes)


@pytest.fixture(scope="module")
def ran(settings, tmp_path_factory):
    """The results of every arm, the runs by arm, and the folder."""
    output = tmp_path_factory.mktemp("ablation") / "out"
    results = ablate(replace(settings, recommended="decoder_recommended"), output, command="unskew ablate")
    runs = [json.loads(path.read_text("utf-8")) for path in (output / "runs").iterdir()]
    return results, {run["arm"]: run for run in runs}, output


def test_every_arm_is_measured(ran):
    results, runs, output = ran
    assert [arm["name"] for arm in results["arms"]] == list(ARMS)
    assert json.loads((output / "results.json").read_text("utf-8")) == results
    arms = {arm["name"]: arm["mean"] for arm in results["arms"]}
    for name in ("decoder_plain", "decoder_head", "hybrid_full"):
        assert 0 <= arms[name]["macro_f1"] <= 1
        assert arms[name]["nll"] > 0
        assert arms[name]["train_seconds"] > arms[name]["clean_seconds"] > 0
        assert arms[name]["peak_memory"] > 50
    assert arms["svm"]["macro_f1"] is not None
    assert arms["svm"]["nll"] is None  # it has no probabilities
    assert arms["decoder_probe"]["nll"] > 0
    assert arms["decoder_probe"]["trainable"] == 3 * (TINY.width + 1)
    assert arms["gold_topics"]["macro_f1"] is None  # it decides nothing
    assert arms["gold_topics"]["rougeL"] is not None
    assert arms["decoder_lora"]["trainable"] < arms["decoder_plain"]["trainable"]
    assert 0 <= arms["decoder_plain"]["free_invalid"] <= 1
    assert len(runs["decoder_plain"]["outputs"]) == results["rows"]["outputs"] == 6
    assert results["rows"]["test"] == 30
    assert set(results["arms"][1]["against"]) == {"decoder_plain", "decoder_recommended"}
    assert results["topics"]["bands"] == ["medium", "medium", "few"]


def test_claims_about_outputs_say_what_the_targets_themselves_reach(ran):
    results, _, _ = ran
    figures = {claim["claim"]: claim["figure"] for claim in results["claims"]}
    (listens,) = (figure for claim, figure in figures.items() if claim.startswith("the decoder writes what its topic"))
    assert "of the targets 100.0% like theirs" in listens


def test_slot_frames_are_measured_by_their_slots(ran, settings, corpus, tmp_path, monkeypatch):
    _, runs, output = ran
    assert "slot_f1" not in {name for run in runs.values() for name, value in run["metrics"].items() if value}
    for name in ("train", "test"):
        rows = [json.loads(line) for line in (corpus / f"{name}.jsonl").read_text("utf-8").splitlines()]
        write_jsonl(tmp_path / f"{name}.jsonl", [{**row, "target": f"{row['topic']}=today"} for row in rows])
    slots = some(
        settings,
        "gold_topics",
        data=DataSettings(train=str(tmp_path / "train.jsonl")),
        test=str(tmp_path / "test.jsonl"),
    )
    results = ablate(slots, tmp_path / "out")
    (arm,) = results["arms"]
    assert 0 <= arm["mean"]["slot_f1"] <= 1
    assert results["metrics"]["slot_f1"]["group"] == "outputs"
    (path,) = (tmp_path / "out" / "runs").iterdir()
    run = json.loads(path.read_text("utf-8"))
    del run["metrics"]["slot_f1"]  # as an earlier version stored it
    path.write_text(json.dumps(run))
    monkeypatch.setattr(running, "run_arm", lambda *_: pytest.fail("it ran again"))
    assert ablate(slots, tmp_path / "out")["arms"][0]["mean"]["slot_f1"] is None


def test_arms_that_claim_the_baselines_terms_have_them(ran):
    _, runs, _ = ran
    base = runs["decoder_plain"]
    assert base["start"]
    assert base["order"]
    assert base["metrics"]["clean_tokens"] > 0
    for name, arm in ARMS.items():
        if arm.same_start:
            assert unequal_terms(runs[name], base) == [], name
    for name in ("decoder_sampling", "decoder_fairness"):  # the same first weights, other rows
        assert unequal_terms(runs[name], base)[:1] == ["rows and order"], name


def test_sampling_arms_see_as_many_rows(ran):
    _, _, output = ran
    costs = [json.loads(path.read_text("utf-8")) for path in output.glob("fits/seed-0/decoder/clean-*/cost.json")]
    rows = [cost["rows"] for cost in costs]
    assert len(rows) >= 6
    assert all(abs(count - 78) <= 3 for count in rows)  # up to rounding in each of the three topics


def test_wrong_topics_are_never_right(ran):
    _, runs, _ = ran
    assert not any(
        a == b for a, b in zip(runs["shuffled_topics"]["decisions"], runs["gold_topics"]["decisions"], strict=True)
    )


def test_calibration_alone_changes_no_weight_and_the_base_is_trained_once(ran):
    _, runs, output = ran
    assert runs["decoder_prior_correction"]["order"] == runs["decoder_plain"]["order"]
    # the guided arm has a base of its own, which has also met rows without their topic
    assert len(list(output.glob("fits/seed-0/decoder/base-*"))) == 2
    # plain, LoRA, focal, sampling, fairness, those that write for others (one with fairness), the guided: no other
    # phase was trained
    assert len(list(output.glob("fits/seed-0/decoder/clean-*"))) == 8


def test_a_finished_run_is_never_run_again(ran, settings, monkeypatch):
    results, _, output = ran
    kept = min(output.glob("runs/*.json"))
    kept.write_text(kept.read_text("utf-8").replace('"metrics"', '"measures"'), "utf-8")  # of an earlier version
    monkeypatch.setattr(running, "run_arm", lambda *_: pytest.fail("it ran again"))
    again = ablate(replace(settings, recommended="decoder_recommended"), output, command="unskew ablate")
    assert {**again, "made": ""} == {**results, "made": ""}


def test_what_changes_an_arm_runs_that_arm_alone(ran, settings, monkeypatch):
    _, runs, output = ran
    arms = {
        **ARMS,
        "decoder_focal": replace(ARMS["decoder_focal"], decoder={"topic_loss": {"name": "focal", "gamma": 1.0}}),
    }
    arms["decoder_plain"] = replace(arms["decoder_plain"], title="another title", note="a note")
    ran_now = []

    def fake(arm, stages, test):
        ran_now.append(arm.title)
        return runs["decoder_focal"]

    monkeypatch.setattr(running, "run_arm", fake)
    ablate(replace(settings, definitions=arms), output)
    assert ran_now == ["focal"]


def test_a_run_belongs_to_its_labels_and_to_the_weights_of_its_bases(settings, corpus, tmp_path):
    def names(given):
        work = _Work(given, tmp_path, read_test(given, read_training(given, 0)), rerun=True)
        return {arm: work._path(arm, 0).name for arm in ("svm", "hybrid_full")}

    plain = some(settings, "svm", "hybrid_full")
    row = json.loads((corpus / "train.jsonl").read_text("utf-8").partition("\n")[0])
    write_jsonl(tmp_path / "corrections.jsonl", [{**row, "topic": "football"}])
    base = tmp_path / "base"
    base.mkdir()
    based = replace(plain, decoder=DecoderSettings(base=str(base)))
    found = [names(plain)]
    for changes in ({"corrections": str(tmp_path / "corrections.jsonl")}, {"merge_spellings": True}):
        found.append(names(replace(plain, data=replace(plain.data, **changes))))
    assert len({name for some in found for name in some.values()}) == 2 * len(found)
    for content in ("{}", '{"vocab_size": 9}'):
        (base / "config.json").write_text(content)
        found.append(names(based))
    assert found[-1]["hybrid_full"] != found[-2]["hybrid_full"]
    assert found[-1]["svm"] == found[-2]["svm"] == found[0]["svm"]  # it has no decoder


def test_each_head_begins_from_the_base_of_its_own_decoder(settings, tmp_path):
    stages = FittedStages(settings, 0, tmp_path / "fits", tmp_path / "rows")
    model = SimpleNamespace(tokenizer=SimpleNamespace(save_pretrained=lambda folder: None))
    for phase in ("base-1", "base-2"):
        trained = tmp_path / phase / "model"
        trained.mkdir(parents=True)
        (trained / "weights").write_text(phase)
        place = stages._scratch_base(Fitted(model, None, {}, {}, 0, {}, str(trained)))
        assert (place / "weights").read_text() == phase


def test_an_interrupted_ablation_goes_on(settings, tmp_path, monkeypatch):
    quick = some(settings, "svm", seeds=(0, 1, 2))
    original, calls = running.run_arm, []

    def cut(arm, stages, test):
        calls.append(stages.seed)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(arm, stages, test)

    monkeypatch.setattr(running, "run_arm", cut)
    with pytest.raises(KeyboardInterrupt):
        ablate(quick, tmp_path / "out")
    halfway = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))
    assert [run["seed"] for run in halfway["arms"][0]["runs"]] == [0]
    whole = ablate(quick, tmp_path / "out")
    assert calls == [0, 1, 1, 2]
    assert [run["seed"] for run in whole["arms"][0]["runs"]] == [0, 1, 2]


def test_shuffled_labels_have_no_winner(settings, make_rows, tmp_path):
    """The planted failure, once with models: there is nothing to learn, so nothing may win."""
    draw = random.Random(0)
    for name, counts in (
        ("train", {"harvest": 60, "harbour": 24, "football": 12}),
        ("test", dict.fromkeys(["harvest", "harbour", "football"], 40)),
    ):
        rows = make_rows(counts, len(name), name)
        topics = [row["topic"] for row in rows]
        draw.shuffle(topics)
        write_jsonl(
            tmp_path / f"{name}.jsonl", [{**row, "topic": topic} for row, topic in zip(rows, topics, strict=True)]
        )
    planted = some(
        settings,
        "decoder_plain",
        "decoder_recommended",
        "hybrid_full",
        data=DataSettings(train=str(tmp_path / "train.jsonl")),
        test=str(tmp_path / "test.jsonl"),
        seeds=(0, 1, 2, 3, 4),
    )
    results = ablate(planted, tmp_path / "out")
    assert results["headline"].startswith("No winner")
    assert {claim["verdict"] for claim in results["claims"] if claim["claim"].startswith("the hybrid class")} != {
        "holds"
    }


def test_budget_keeps_the_shares_of_topics(settings):
    whole, half = read_training(settings, 0), read_training(replace(settings, budget=0.5), 0)
    assert whole.topics.counts == (60, 24, 8)
    assert half.topics.counts == (25, 10, 3)
    assert len(half.noisy) == round(len(whole.noisy) / 2)
    assert len(half.validation) == pytest.approx(len(whole.validation) / 2, abs=1)
    assert {record.topic for record in half.validation} == {record.topic for record in whole.validation}


def test_a_budget_leaves_synthetic_rows_whole_and_uncounted(settings, make_rows, tmp_path):
    write_jsonl(tmp_path / "synthetic.jsonl", make_rows({"football": 9}, 5, "synthetic"))
    data = replace(settings.data, synthetic=str(tmp_path / "synthetic.jsonl"))
    half = read_training(replace(settings, data=data, budget=0.5), 0, synthetic=True)
    assert half.topics.counts == (25, 10, 3)
    assert sum(record.id.startswith("synthetic") for record in half.train) == 9


def test_arms_without_what_they_need_are_left_out(settings, tmp_path, caplog):
    arms = {
        "svm": ARMS["svm"],
        "synthetic": ArmSettings("synthetic", "decoder", synthetic=True),
        "bayes": ArmSettings("bayes", "reference", "bayes"),
    }
    results = ablate(replace(settings, definitions=arms), tmp_path / "out")
    assert [arm["name"] for arm in results["arms"]] == ["svm"]
    assert "synthesise" in caplog.text
    assert "newsroom.json" in caplog.text


def test_a_folder_of_other_things_is_refused(settings, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="other contents"):
        ablate(settings, tmp_path)


def test_training_on_test_rows_is_refused(settings, corpus, tmp_path):
    with pytest.raises(UserError, match="also occur in"):
        ablate(replace(settings, test=str(corpus / "train.jsonl")), tmp_path / "out")


def test_a_clean_row_outside_the_budget_may_not_be_a_test_row_either(settings, make_rows, tmp_path):
    test = make_rows({"harvest": 10, "football": 10}, 1, "test")
    write_jsonl(tmp_path / "test.jsonl", test)
    write_jsonl(tmp_path / "train.jsonl", [*make_rows({"harvest": 60, "football": 60}, 0, "train"), test[0]])
    data = DataSettings(train=str(tmp_path / "train.jsonl"))
    for seed in range(8):
        with pytest.raises(UserError, match="1 texts of the (train|validation) rows also occur in"):
            read_training(replace(settings, data=data, test=str(tmp_path / "test.jsonl"), budget=0.1), seed)


@pytest.mark.parametrize("stored", [False, True])
def test_noisy_and_synthetic_rows_that_are_test_rows_are_left_out(
    settings, corpus, make_rows, tmp_path, caplog, stored
):
    test = [json.loads(line) for line in (corpus / "test.jsonl").read_text("utf-8").splitlines()]
    own = make_rows({"football": 5}, 3, "own")
    for name, leaks in (("noisy", test[:7]), ("synthetic", test[7:10])):
        write_jsonl(tmp_path / f"{name}.jsonl", [*own, *({**row, "id": f"copy of {row['id']}"} for row in leaks)])
    names = {name: str(tmp_path / f"{name}.jsonl") for name in ("noisy", "synthetic")}
    given = replace(settings, data=replace(settings.data, **names))
    sets = read_training(given, 0, tmp_path / "rows" if stored else None, synthetic=True)
    assert [record.id for record in sets.noisy] == [row["id"] for row in own]
    assert [record.id for record in sets.train if record.synthetic] == [row["id"] for row in own]
    assert "noisy.jsonl: left out 7 rows with the text of a row of" in caplog.text
    assert "synthetic.jsonl: left out 3 rows with the text of a row of" in caplog.text


def test_a_wrong_setting_names_its_arm(settings):
    with pytest.raises(UserError, match="arm typo: there is no setting 'adaption'"):
        replace(settings, definitions={"typo": ArmSettings("typo", "decoder", decoder={"adaption": "lora"})})
    with pytest.raises(UserError, match="arm wrong: decoder settings: rank"):
        replace(settings, definitions={"wrong": ArmSettings("wrong", "decoder", decoder={"rank": 0})})
    with pytest.raises(UserError, match="arm names: decide zero_shot needs decoder.base"):
        replace(settings, definitions={"names": ArmSettings("names", "decoder", "zero_shot")})
    with pytest.raises(UserError, match="needs a target_prior"):
        ArmSettings("raw", "decoder", calibration="temperature")
    with pytest.raises(UserError, match="arm guided: guidance needs a decoder with a topic_dropout"):
        replace(settings, definitions={"guided": replace(ARMS["hybrid_full"], guidance=2.0)})
    with pytest.raises(UserError, match="this arm writes none"):
        ArmSettings("silent", "decoder", guidance=2.0)
    with pytest.raises(UserError, match="guidance is 0.5, must be a number from 1"):
        ArmSettings("weak", "decoder", write=True, guidance=0.5)
    with pytest.raises(UserError, match="decide svm has no prior to correct"):
        ArmSettings("svm", "encoder", "svm", target_prior="adaptive")
    with pytest.raises(UserError, match="calibration contextual has no prior to correct"):
        ArmSettings("contextual", "decoder", calibration="contextual", target_prior="train")
    dropping = replace(settings.decoder, topic_loss=None, topic_dropout=0.1)
    with pytest.raises(UserError, match="arm deaf: decoder settings: topic_dropout is for a decoder that is given"):
        replace(settings, decoder=dropping, definitions={"deaf": ArmSettings("deaf", "decoder")})
    with pytest.raises(UserError, match="arm fair: fairness needs a decoder trained with it"):
        replace(settings, definitions={"fair": ArmSettings("fair", "decoder", fairness=True)})


def test_command(corpus, tmp_path, capsys):
    config = tmp_path / "ablation.yaml"
    config.write_text(
        f"data: {{train: {corpus / 'train.jsonl'}}}\n"
        f"test: {corpus / 'test.jsonl'}\n"
        "definitions:\n"
        "  svm: {title: SVM, group: encoder, decide: svm}\n"
        "  bayes: {title: Bayes, group: reference, decide: bayes}\n"
    )
    given = ["ablate", "--config", str(config), "--output", str(tmp_path / "out"), "--seeds", "0,1"]
    with pytest.raises(SystemExit) as ended:
        main([*given, "--arms", "svm"])
    assert ended.value.code == 0
    assert "No comparison" in capsys.readouterr().out
    assert {"results.json", "report.html", "results.csv", "table.md"} <= {p.name for p in (tmp_path / "out").iterdir()}
    for option, said in (
        (["--arms", "svm,typo"], "arms: there is no 'typo'; give some of svm, bayes"),
        (["--baseline", "typo"], "baseline: there is no 'typo'; give one of svm, bayes"),
        (["--recommended", "typo"], "recommended: there is no 'typo'; give one of svm, bayes"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([*given, *option])
        assert ended.value.code == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1


def test_seeds_on_workers(settings, tmp_path):
    """Ray's processes are slow to start: the work of an ablation is only packed here, and a small one is done."""
    ray = pytest.importorskip("ray")

    def work(seed):
        if seed == 2:
            while not (tmp_path / "seed-0").exists():  # its process may be the slower one to start
                time.sleep(0.05)
            raise UserError("seed 2 cannot be done")
        (tmp_path / f"seed-{seed}").write_text("done")

    with pytest.raises(UserError, match="seed 2"):
        map_seeds(work, (0, 1, 2), 2, Warned())
    assert (tmp_path / "seed-0").exists()

    def warn(seed):
        log = logging.getLogger("unskew")
        log.addHandler(logging.FileHandler(tmp_path / f"log-{seed}"))
        log.warning("a row was left out")
        log.warning("a token is not trained")

    map_seeds(warn, (3, 4), 2, Warned(["a row was left out"]))
    said = [line for path in tmp_path.glob("log-*") for line in path.read_text("utf-8").splitlines()]
    assert said == ["a token is not trained"]
    packed = ray.cloudpickle.dumps(_Work(some(settings, "svm"), tmp_path, None, rerun=False).run_seed)
    assert ray.cloudpickle.loads(packed).__self__.settings == some(settings, "svm")
