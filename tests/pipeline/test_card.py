"""The model card: its figures under their titles, and names from data as text."""

import yaml

from unskew.common import METRIC_TITLES
from unskew.corpus import Topics
from unskew.pipeline.card import Example, model_card


def test_measured_figures_have_their_titles():
    topics = Topics(("news", "sport"), (3, 1))
    metrics = {"validation": {"macro_f1": 0.75, "nll": None}, "validation_recall": {"news": 1.0, "sport": 0.5}}
    lines = model_card({"topics": topics.to_dict(), "target_prior": [0.5, 0.5]}, {}, metrics).splitlines()
    assert f"| {METRIC_TITLES['macro_f1']} | 0.750 |" in lines
    assert not any(METRIC_TITLES["nll"] in line for line in lines)
    assert "| sport | 1 | few | 0.5000 | 0.50 |" in lines


def test_the_card_keeps_topic_names_text():
    names = ("<script>alert(1)</script>", "a | b", "[x](javascript:1)", "\x1b[2J")
    topics = Topics(names, (1, 1, 1, 1))
    example = Example("a\nb", dict.fromkeys(names, 0.25))
    card = model_card({"topics": topics.to_dict(), "target_prior": [0.25] * 4}, {}, {}, example)
    widget = yaml.safe_load(card.split("---\n")[1])["widget"]
    assert widget == [{"text": "a\nb", "output": [{"label": name, "score": 0.25} for name in names]}]
    rows = [line for line in card.splitlines() if line.endswith("|  |") or "0.2500" in line]
    assert len(rows) == 4
    assert "<script>" not in card
    assert "\x1b" not in card
    assert r"a \| b" in card
    assert r"\[x\]" in card


def test_obedience_is_said_beside_what_the_targets_reach():
    measured = {"rows": 48, "right": 0.913, "wrong": 0.877, "targets": 1.0, "ignoring": 0.206, "gap": 0.3}
    given = {"topics": Topics(("news", "sport"), (3, 1)).to_dict(), "target_prior": [0.5, 0.5]}
    lines = model_card(given, {"decoder_facts": {"trainable": 7}}, {"obedience": measured}).splitlines()
    assert lines[-2:] == [
        "- trainable: 7",
        "- obedience, outputs of 48 held-out texts that followed: the right topic 91% (their targets 100%), "
        "a wrong one 88% (the same targets 21%)",
    ]
    assert "obedience" not in model_card(given, {"decoder_facts": {"trainable": 7}}, {})
