import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from unskew.balance import ConformalSets, fit_conformal, rows_needed
from unskew.common import UserError

PRIOR = torch.tensor([0.7, 0.2, 0.07, 0.03], dtype=torch.float64)


def draw(rows, seed, prior=PRIOR):
    """Probabilities of a miscalibrated model that favours the frequent topics, and the true topics."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(prior, rows, replacement=True, generator=generator)
    logits = torch.randn(rows, 4, generator=generator, dtype=torch.float64) + 2 * PRIOR.log()
    logits[torch.arange(rows), labels] += 3
    return logits.softmax(-1), labels


@pytest.mark.parametrize("error_rate", [0.05, 0.2])
def test_every_topic_is_covered_within_its_binomial_interval(error_rate):
    sets = fit_conformal(*draw(20_000, 0), error_rate)
    probabilities, labels = draw(8000, 1, prior=torch.full((4,), 0.25))
    covered = sets(probabilities)[torch.arange(8000), labels]
    assert sets.pooled == ()
    for topic in range(4):
        rows = covered[labels == topic]
        assert rows.sum().item() >= binom.ppf(1e-4, len(rows), 1 - error_rate - 0.01)
        if topic > 0:
            # Not by taking everything: only decided topics, which are added, may push coverage up.
            assert rows.double().mean().item() < 1 - error_rate / 2


def test_expected_coverage_of_a_small_calibration_set_is_exact():
    # 19 rows at 0.1: the 18th of 19 smallest scores covers a new one with 18 / 20 = 0.9.
    hits = []
    for seed in range(400):
        own = torch.rand(20, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) / 3
        probabilities = torch.stack([own, 0.9 - own, torch.full_like(own, 0.1)], dim=1)
        sets = fit_conformal(probabilities[:19], torch.zeros(19).long(), 0.1)
        hits.append(sets(probabilities[19:])[0, 0].item())
    assert binom.ppf(0.001, 400, 0.9) <= sum(hits) <= binom.ppf(0.999, 400, 0.9)


def test_thresholds_by_hand():
    # Nine rows at 0.1: rank ceil(10 * 0.9) = 9, the least of their probabilities. At 0.5, rank 5: the median.
    own = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.55, 0.5, 0.4, 0.3, 0.2], dtype=torch.float64)
    probabilities = torch.stack([own, 1 - own], dim=1)
    assert fit_conformal(probabilities, torch.zeros(9).long(), 0.1).thresholds[0] == 0.2
    assert fit_conformal(probabilities, torch.zeros(9).long(), 0.5).thresholds[0] == 0.55


def test_rare_topics_are_pooled_and_named():
    rows = torch.tensor([40, 20, 9, 8])
    labels = torch.arange(4).repeat_interleave(rows)
    probabilities = torch.rand(77, 4, generator=torch.Generator().manual_seed(0)).softmax(-1)
    sets = fit_conformal(probabilities, labels, 0.1)
    assert sets.pooled == (3,)
    assert sets.always == (3,)
    assert sets(probabilities)[:, 3].all()


def test_a_pool_with_enough_rows_shares_one_threshold():
    own = torch.linspace(0.3, 0.9, 12, dtype=torch.float64)
    labels = torch.arange(2).repeat(6)
    probabilities = torch.stack([own, own], dim=1)
    probabilities[torch.arange(12), 1 - labels] = 1 - own
    sets = fit_conformal(probabilities, labels, 0.1)
    assert sets.pooled == (0, 1)
    assert sets.always == ()
    assert sets.thresholds == pytest.approx((0.3, 0.3))


@given(st.sampled_from([0.01, 0.05, 0.1, 0.2, 0.25, 0.5]))
def test_rows_needed_is_the_least_that_gives_a_threshold(error_rate):
    needed = rows_needed(error_rate)
    for rows, pooled in ((needed, False), (needed - 1, True)):
        probabilities = torch.full((max(1, rows), 2), 0.5)
        labels = torch.zeros(max(1, rows)).long() if rows else torch.ones(1).long()
        assert (0 in fit_conformal(probabilities, labels, error_rate).pooled) == pooled


def test_no_set_is_empty():
    sets = fit_conformal(*draw(20_000, 0), 0.5)
    probabilities, _ = draw(2000, 1)
    members = sets(probabilities)
    assert members[torch.arange(2000), probabilities.argmax(-1)].all()
    assert (probabilities < torch.tensor(sets.thresholds)).all(-1).any()


def test_saved_and_loaded_it_is_the_same():
    sets = fit_conformal(*draw(200, 0))
    assert ConformalSets.from_dict(json.loads(json.dumps(sets.to_dict()))) == sets


@pytest.mark.parametrize(
    ("probabilities", "labels", "error_rate", "message"),
    [
        (torch.ones(2, 2) / 2, torch.zeros(2).long(), 0.0, "must be in"),
        (torch.ones(2, 2) / 2, torch.zeros(2).long(), 1.0, "must be in"),
        (torch.ones(0, 2), torch.zeros(0).long(), 0.1, "need rows"),
        (torch.ones(2, 2) / 2, torch.zeros(3).long(), 0.1, "need rows"),
    ],
)
def test_mistakes_are_named(probabilities, labels, error_rate, message):
    with pytest.raises(UserError, match=message):
        fit_conformal(probabilities, labels, error_rate)


def pooled_rows(rows, seed):
    """Eight topics of which the last four are rare, each of those harder than the one before."""
    generator = torch.Generator().manual_seed(seed)
    shares = torch.tensor([0.4, 0.3, 0.15, 0.11, 0.01, 0.01, 0.01, 0.01])
    labels = torch.multinomial(shares, rows, replacement=True, generator=generator)
    logits = torch.randn(rows, 8, generator=generator, dtype=torch.float64)
    logits[torch.arange(rows), labels] += torch.tensor([4, 4, 4, 4, 4, 3, 2, 1]).double()[labels]
    return logits.softmax(-1), labels


def test_only_per_topic_sets_promise_each_topic():
    """Rarest topics over many calibration sets: per topic they are covered, pooled the hardest is not."""
    covered = {"per_topic": torch.zeros(8), "pooled": torch.zeros(8), "clustered": torch.zeros(8)}
    test, truth = pooled_rows(20_000, 99)
    repeats = 40
    for seed in range(repeats):
        for kind, found in covered.items():
            sets = fit_conformal(*pooled_rows(400, seed), 0.1, kind)(test)
            hits = sets[torch.arange(len(truth)), truth].float()
            found += torch.stack([hits[truth == topic].mean() for topic in range(8)]) / repeats
    assert covered["per_topic"].min() > 0.88
    assert covered["pooled"][:4].min() > 0.88
    assert covered["pooled"][7] < 0.85
    assert covered["clustered"][:4].mean() > 0.87


def test_clusters_find_topics_that_are_alike():
    probabilities, labels = pooled_rows(8000, 0)
    alike = fit_conformal(probabilities, labels, 0.1, "clustered").thresholds
    assert len(set(alike)) > 1
    assert alike[0] == alike[1]
    assert alike[7] < alike[0]


def test_the_promise_in_force_is_said():
    probabilities, labels = pooled_rows(400, 0)
    assert "every set" in fit_conformal(probabilities, labels, 0.1, "per_topic").promise
    assert "only on average" in fit_conformal(probabilities, labels, 0.1, "pooled").promise
    assert "as far as it resembles its cluster" in fit_conformal(probabilities, labels, 0.1, "clustered").promise
    with pytest.raises(UserError, match="give one of per_topic, clustered, pooled"):
        fit_conformal(probabilities, labels, 0.1, "mondrian")


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -0.1])
def test_what_is_no_probability_is_refused(bad):
    probabilities = torch.ones(9, 2) / 2
    sets = fit_conformal(probabilities, torch.zeros(9).long())
    probabilities[3, 1] = bad
    for use in (lambda: fit_conformal(probabilities, torch.zeros(9).long()), lambda: sets(probabilities)):
        with pytest.raises(UserError, match="row 3 does not have probabilities"):
            use()
