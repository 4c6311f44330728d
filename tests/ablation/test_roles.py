"""Arms of one's own: who is compared with whom, what is claimed, on what terms, and what is said."""

import logging
from dataclasses import fields, replace
from pathlib import Path

import pytest

from unskew.ablation import AblationSettings, ArmSettings
from unskew.ablation.claims import judge_claims, write_headline
from unskew.ablation.data import read_training
from unskew.ablation.results import unequal_terms_said
from unskew.ablation.warned import Warned, warning_once
from unskew.cli.main import make_parser
from unskew.common import UserError
from unskew.pipeline import DataSettings

CONFIGS = Path(__file__).parents[2] / "configs"
OURS = ArmSettings("ours", "hybrid", "encoder")
THEIRS = ArmSettings("theirs", "decoder")
LINEAR = ArmSettings("linear", "encoder", "svm")


def settings(**arms):
    return AblationSettings(DataSettings("train.jsonl"), "test.jsonl", arms)


def found(name, title, value, against=(), p=0.001):
    """An arm's results with five seeds, better than others by `value`."""
    ends = {"difference": value, "interval": [value - 0.05, value + 0.05], "p": p, "p_corrected": p}
    metrics = dict.fromkeys(("macro_f1", "balanced_accuracy", "rougeL", "prior_pull"), 0.7)
    return {
        "name": name,
        "title": title,
        "runs": [{}] * 5,
        "mean": {**metrics, "topic_fit": 0.95, "true_fit": 0.1, "clean_tokens": 1000.0},
        "interval": dict.fromkeys(metrics, [0.6, 0.8]),
        "against": {other: dict.fromkeys(metrics, ends) for other in against},
    }


def test_without_roles_the_first_arm_is_the_baseline_and_all_that_decide_contend():
    given = settings(theirs=THEIRS, ours=OURS, linear=LINEAR, gold=ArmSettings("bound", "reference", "gold"))
    assert given.compared_with == "theirs"
    assert given.contenders == ["ours", "linear", "theirs"]
    arms = [found("theirs", "theirs", 0), found("ours", "ours", 0.4, ["theirs"])]
    assert write_headline(arms, given).startswith('"ours" leads with a macro-F1 of 0.700')
    assert write_headline([found("theirs", "theirs", 0), found("ours", "ours", 0.4, ["theirs"], p=0.3)], given) == (
        'No winner: "ours" +0.400 [+0.350, +0.450] macro-F1 against "theirs"; none is significant.'
    )
    both = [*arms, found("linear", "linear", 0.4, ["theirs"])]
    assert "between them nothing was tested" in write_headline(both, given)


def test_roles_say_who_is_compared_with_whom():
    arms = {"ours": OURS, "theirs": replace(THEIRS, role="baseline"), "linear": replace(LINEAR, role="contender")}
    given = settings(**arms)
    assert (given.compared_with, given.contenders) == ("theirs", ["linear", "theirs"])
    assert replace(given, baseline="ours").compared_with == "ours"
    with pytest.raises(UserError, match="ours, theirs all have the role baseline"):
        settings(ours=replace(OURS, role="baseline"), theirs=arms["theirs"])


@pytest.mark.parametrize(
    ("group", "decide", "role", "said"),
    [
        ("hybrid", "decoder", None, "in group hybrid an encoder decides, but decide is 'decoder'"),
        ("hybrid", "gold", None, "in group hybrid an encoder decides"),
        ("reference", "gold", "contender", "role contender needs an arm that decides topics"),
        ("decoder", "probe", None, "decide probe has no prior to correct"),
        ("decoder", "decoder", "winner", "role is 'winner', must be baseline or contender"),
    ],
)
def test_arms_that_are_not_what_they_say(group, decide, role, said):
    with pytest.raises(UserError, match=said):
        ArmSettings("mine", group, decide, role=role, target_prior="train" if decide == "probe" else "raw")


def test_claims_are_of_arms_that_were_run():
    given = settings(theirs=THEIRS, ours=OURS)
    theirs, ours = found("theirs", "theirs", 0), found("ours", "ours", 0.4, ["theirs"])
    said = [claim["claim"] for claim in judge_claims([theirs, ours], given, topics=3, shifted=True)]
    assert len(said) == 3
    assert said[0] == "decoder-only fine-tuning copies the training prior"
    assert all(claim.startswith("the hybrid") for claim in said[1:])
    assert judge_claims([ours], given, topics=3, shifted=True) == []
    linear = settings(linear=LINEAR, ours=OURS)
    said = judge_claims([found("linear", "linear", 0), ours], linear, topics=3, shifted=True)
    assert not any("decoder-only" in claim["claim"] for claim in said)


def test_outputs_are_held_to_what_targets_reach():
    """True headlines may read like their topic in 0.65 only, and no decoder can be expected to do better."""
    given = settings(theirs=THEIRS, shuffled_topics=ArmSettings("wrong", "reference", "shuffled", write=True))
    theirs, wrong = found("theirs", "theirs", 0), found("shuffled_topics", "wrong", 0)

    def verdict(fit, true, targets_fit):
        arm = {**wrong, "mean": {**wrong["mean"], "topic_fit": fit, "true_fit": true}}
        return judge_claims([theirs, arm], given, 3, True, targets_fit)[-1]["verdict"]

    assert verdict(0.62, 0.1, 0.654) == "holds"
    assert verdict(0.62, 0.1, 1.0) == "holds partly"
    assert verdict(0.95, 0.97, 1.0) == "does not hold here"  # topics that cannot be told apart show nothing


def test_a_single_recommended_cure_is_claimed_once():
    arms = {"theirs": THEIRS, "decoder_prior_correction": replace(THEIRS, target_prior="uniform")}
    given = replace(settings(**arms), recommended="decoder_prior_correction")
    results = [found("theirs", "theirs", 0), found("decoder_prior_correction", "corrected", -0.3, ["theirs"])]
    said = [claim["claim"] for claim in judge_claims(results, given, topics=3, shifted=True)]
    assert "prior correction reduces the prior pull of the decoder alone" in said
    assert "the recommended cures together reduce it" not in said


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("ablation*.yaml")), ids=lambda file: file.stem)
def test_a_config_compares_its_contender_with_the_recommended_decoder(file):
    parser, _ = make_parser("ablate")
    bases = ["--encoder.base", "any", "--decoder.base", "any"]
    bases = [] if file.stem == "ablation" else bases  # all its models are from scratch
    given = parser.parse_args(["--config", str(file), *bases, "--output", "out"])
    options = vars(parser.instantiate(given))
    parsed = AblationSettings(**{each.name: options[each.name] for each in fields(AblationSettings)})
    assert parsed.definitions[str(parsed.recommended)].role == "contender"
    assert parsed.definitions[str(parsed.recommended)].group == "decoder"
    assert parsed.compared_with == "decoder_plain"


def test_terms_are_said_where_they_differ():
    given = settings(theirs=THEIRS, ours=OURS)
    arms = [found("theirs", "theirs", 0), found("ours", "ours", 0.4, ["theirs"])]
    assert unequal_terms_said(given, arms, {"train": 1500, "noisy": 0}) == []
    assert unequal_terms_said(given, arms, {"train": 1500, "noisy": 9000}) == [
        '"ours" learnt its topics from 1,500 clean rows, 9,000 noisy ones, 1,000 tokens of clean training',
        '"theirs" learnt its topics from 1,500 clean rows, 1,000 tokens of clean training',
    ]


def test_the_rows_that_are_said_are_those_of_the_budget_and_warnings_come_once(corpus, caplog):
    given = AblationSettings(
        DataSettings(str(corpus / "train.jsonl")), str(corpus / "test.jsonl"), {"svm": LINEAR}, budget=0.5
    )
    with caplog.at_level(logging.INFO, "unskew"), warning_once(Warned().is_new):
        sets = read_training(given, 0)
        read_training(given, 1)
        for _ in range(2):
            logging.getLogger("unskew").warning("a row was left out")
    lines = [record.getMessage() for record in caplog.records if "rows to train on" in record.getMessage()]
    assert lines[0].startswith(f"seed 0: 3 topics; {len(sets.train)} rows to train on")
    assert len(lines) == 2
    assert [record.getMessage() for record in caplog.records].count("a row was left out") == 1
