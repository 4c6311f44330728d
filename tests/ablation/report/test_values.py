import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unskew.ablation.report.values import (
    arms_run,
    band_recall,
    fewest_runs,
    key_arms,
    marks,
    number,
    runs_with,
    standings,
)


def results_of(better, figures, groups=None):
    """Arms a, b, c of one metric, each (mean, low, high), or None where not measured."""
    arms = [
        {
            "name": name,
            "title": name.upper(),
            "group": (groups or {}).get(name, "decoder"),
            "runs": [{"seed": seed, "metrics": {"m": its and its[0]}} for seed in range(5)],
            "mean": {"m": its and its[0]},
            "interval": {"m": its and (None if its[1] is None else list(its[1:]))},
        }
        for name, its in figures.items()
    ]
    metrics = {"m": {"title": "metric", "better": better, "group": "topics"}}
    seeds = [0, 1, 2, 3, 4]
    return {"arms": arms, "metrics": metrics, "primary": "m", "reference_arms": ["a", "b"], "seeds": seeds}


def test_best_is_an_arm_whose_interval_stands_apart():
    results = results_of("higher", {"a": (0.5, 0.4, 0.6), "b": (0.8, 0.7, 0.9), "c": (0.6, 0.5, 0.65)})
    assert standings(results, "m") == {"b": "best"}


def test_where_intervals_overlap_nobody_is_best():
    results = results_of("higher", {"a": (0.5, 0.4, 0.55), "b": (0.8, 0.6, 0.9), "c": (0.7, 0.5, 0.75)})
    assert standings(results, "m") == {"b": "tied", "c": "tied"}


@pytest.mark.parametrize(
    ("better", "leader"), [("lower", {"a": "best"}), ("zero", {"b": "best"}), ("higher", {"c": "best"})]
)
def test_the_direction_is_the_measures(better, leader):
    results = results_of(better, {"a": (-0.5, -0.6, -0.4), "b": (0.02, -0.01, 0.05), "c": (0.9, 0.8, 1.0)})
    assert standings(results, "m") == leader


@pytest.mark.parametrize(
    "figures",
    [
        {"a": (0.5, None, None), "b": (0.8, None, None)},
        {"a": (0.5, 0.4, 0.6), "b": None, "c": None},
        {"a": (0.5, 0.3, 0.7), "b": (0.6, 0.4, 0.8), "c": (0.5, 0.2, 0.7)},
    ],
    ids=["no intervals", "one arm", "all tied"],
)
def test_nothing_is_said_where_nothing_can_be(figures):
    assert standings(results_of("higher", figures), "m") == {}


def test_nothing_is_best_while_an_arm_lacks_runs():
    results = results_of(
        "higher", {"a": (0.5, 0.4, 0.6), "b": (0.8, 0.7, 0.9), "c": (1.0, 1.0, 1.0)}, {"c": "reference"}
    )
    results["arms"][2]["runs"] = results["arms"][2]["runs"][:1]
    assert (standings(results, "m"), fewest_runs(results)) == ({"b": "best"}, 5)
    results["arms"][0]["runs"] = results["arms"][0]["runs"][:1]
    assert (standings(results, "m"), fewest_runs(results)) == ({}, 1)


def test_a_bound_is_no_contender():
    figures = {"a": (0.5, 0.4, 0.6), "b": (0.8, 0.7, 0.9), "c": (1.0, 1.0, 1.0)}
    assert standings(results_of("higher", figures, {"c": "reference"}), "m") == {"b": "best"}


spans = st.tuples(*[st.floats(-2, 2)] * 3).map(lambda ends: (sorted(ends)[1], sorted(ends)[0], sorted(ends)[2]))


@given(
    better=st.sampled_from(["higher", "lower", "zero"]),
    figures=st.lists(spans, min_size=2, max_size=6),
    shuffle=st.randoms(),
)
def test_the_best_overlaps_nobody_whatever_the_order(better, figures, shuffle):
    named = dict(zip("abcdef", figures, strict=False))
    found = standings(results_of(better, named), "m")
    best = [name for name, standing in found.items() if standing == "best"]
    assert len(best) <= 1
    assert not best or len(found) == 1
    for name in best:
        _, low, high = named.pop(name)
        assert all(other[1] > high or other[2] < low for other in named.values())
    again = list(zip("abcdef", figures, strict=False))
    shuffle.shuffle(again)
    if best:
        assert standings(results_of(better, dict(again)), "m") == found


def test_marks_are_for_corrected_significance_in_the_measures_direction(fake_results):
    results = fake_results(arms=["plain", "recommended", "hybrid"])
    plain, _, hybrid = arms_run(results)
    found = {mark.letter: mark for mark in marks(results, hybrid, "prior_pull")}
    assert found["A"].better, "nearer to zero"
    assert "−0.8" in found["A"].text
    assert "p < 0.001" in found["A"].text
    assert [mark.better for mark in marks(results, plain, "macro_f1")] == [False], "none against itself"
    weak = copy.deepcopy(hybrid)
    weak["against"]["plain"]["macro_f1"] |= {"p": 0.01, "p_corrected": 0.06}
    assert [mark.letter for mark in marks(results, weak, "macro_f1")] == ["B"]


def test_the_arms_of_the_pictures(fake_results):
    parts = {part: arm["name"] for part, arm in key_arms(fake_results()).items()}
    named = {"plain": "plain", "best other decoder": "adjusted", "recommended": "recommended", "hybrid": "hybrid"}
    assert parts == named
    assert list(key_arms(fake_results(arms=["hybrid", "bayes"]))) == ["hybrid"]


def test_band_recall_without_a_measure_is_taken_from_the_topics(fake_results):
    results = copy.deepcopy(fake_results(arms=["plain"]))
    (arm,) = results["arms"]
    measured = band_recall(results, arm)
    for band in measured:
        arm["mean"].pop(f"recall_{band}")
    assert {band: value for band, (value, _) in band_recall(results, arm).items()} == pytest.approx(
        {band: value for band, (value, _) in measured.items()}
    )


def test_seeds_without_a_figure_do_not_count(fake_results):
    results = copy.deepcopy(fake_results(arms=["plain"]))
    results["arms"][0]["runs"][0]["metrics"]["nll"] = None
    assert runs_with(results["arms"][0], "nll") == 4


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (0.12345, "0.123"), (-0.02, "−0.020"), (12.345, "12.35"), (999.94, "999.9"), (1234.4, "1,234"),
        (420_000, "420 k"), (999_999, "1 M"), (134_515_008, "135 M"), (2.5e9, "2.5 G"),
    ],
)  # fmt: skip
def test_numbers_are_for_reading(value, text):
    assert number(value) == text
