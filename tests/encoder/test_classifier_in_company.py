"""TopicClassifier in scikit-learn's company: weights, nested settings, decisions, bagging, cleanlab."""

from copy import copy

import numpy as np
import pandas
import pytest
from cleanlab.classification import CleanLearning
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GridSearchCV
from tiny_classifier import TINY

from unskew.balance import DecisionSettings, LossSettings
from unskew.common import UserError
from unskew.encoder import TopicClassifier
from unskew.encoder.texts_and_labels import as_weights


@pytest.fixture(scope="module")
def unsure(texts, labels):
    """Fitted for one epoch, so that no row is certain."""
    return TopicClassifier(**TINY | {"learning_rate": 0.005}, epochs=1).fit(texts, labels)


def test_weights_count_as_rows_do(texts, labels):
    model = TopicClassifier(**TINY, epochs=1, loss=LossSettings(weights="none"), validation_share=0)
    weights = np.where(labels == "courts", 8.0, 1.0)
    heavy = clone(model).fit(texts, labels, sample_weight=weights)
    shares = np.array([48, 60, 30]) / 138
    np.testing.assert_allclose(heavy.class_count_ / heavy.class_count_.sum(), shares)
    np.testing.assert_allclose(heavy.model_prior_, shares, atol=1e-6)
    same = clone(model).fit(texts, labels, sample_weight=np.full(len(texts), 7.0))
    np.testing.assert_array_equal(same.predict_proba(texts), clone(model).fit(texts, labels).predict_proba(texts))


def test_rows_of_no_weight_are_left_out(texts, labels):
    wrong = np.where(np.arange(len(labels)) % 2, "sport", labels)
    model = TopicClassifier(**TINY, epochs=4, validation_share=0)
    weighted = clone(model).fit(texts, wrong, sample_weight=(np.arange(len(labels)) % 2 == 0).astype(float))
    apart = clone(model).fit(texts[::2], wrong[::2])
    assert (weighted.predict(texts) == apart.predict(texts)).all()


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(1e-6, 1e6) | st.just(0.0), min_size=1, max_size=9).filter(any),
    st.sampled_from([1e-310, 1e-300, 1.0, 1e302]),
)
def test_weights_have_a_mean_of_1_at_any_scale(weights, scale):
    scaled = np.array(as_weights([weight * scale for weight in weights], len(weights)))
    assert scaled[scaled > 0].mean() == pytest.approx(1)
    np.testing.assert_allclose(scaled, as_weights(weights, len(weights)), rtol=1e-3)


def test_numbers_of_numpy_are_numbers(texts, labels):
    given = {"epochs": np.int64(1), "max_tokens": np.int32(32), "tokens_per_batch": np.int64(256)}
    rate = {"learning_rate": np.float64(0.02), "random_state": np.int64(0), "validation_share": np.float64(0.15)}
    same = TopicClassifier(**TINY | given | rate).fit(texts, labels)
    plain = TopicClassifier(**TINY, epochs=1).fit(texts, labels)
    np.testing.assert_array_equal(same.predict_proba(texts), plain.predict_proba(texts))


@pytest.mark.parametrize("weights", [[1.0], [-1.0] * 96, [0.0] * 96, [float("nan")] * 96, [1e-300, *[1.0] * 95]])
def test_what_are_no_weights(texts, labels, weights):
    with pytest.raises(ValueError, match="sample_weight|Negative"):
        TopicClassifier(**TINY, epochs=1).fit(texts, labels, sample_weight=weights)


def test_weights_are_routed(texts, labels):
    with config_context(enable_metadata_routing=True):
        model = (
            TopicClassifier(**TINY, epochs=1).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        )
        search = GridSearchCV(model, {"epochs": [1]}, cv=2, error_score="raise")
        search.fit(texts, labels, sample_weight=np.where(labels == "courts", 8.0, 1.0))
    assert search.best_estimator_.class_count_[0] > 0.25 * search.best_estimator_.class_count_.sum()


def test_settings_nest(texts, labels):
    model = TopicClassifier(**TINY, epochs=1, loss=LossSettings("focal"), decision=DecisionSettings())
    assert model.get_params()["loss__name"] == "focal"
    assert model.get_params()["scratch__width"] == 16
    assert "loss__name" not in model.get_params(deep=False)
    again = clone(model).set_params(loss__gamma=3.0, scratch__width=8, decision__tune="macro_f1")
    assert (again.loss.gamma, again.scratch.width, again.decision.tune) == (3.0, 8, "macro_f1")
    assert model.loss.gamma is None
    with pytest.raises(ValueError, match="loss__colour"):
        model.set_params(loss__colour=1)
    with pytest.raises(ValueError, match=r"decision__accuracy.*decision is None; set decision=DecisionSettings\(\) f"):
        TopicClassifier().set_params(decision__accuracy=0.9)
    with pytest.raises(ValueError, match=r"loss is 'focal'; set loss=LossSettings\(\) first"):
        TopicClassifier(loss="focal").set_params(loss__gamma=1.0)
    with pytest.raises(ValueError, match="epochs is None$"):
        TopicClassifier().set_params(epochs__many=1)
    with pytest.raises(UserError, match="tau has no effect"):
        model.set_params(loss__tau=1.0)
    search = GridSearchCV(model, {"loss__gamma": [0.5, 2.0]}, cv=2, error_score="raise").fit(texts, labels)
    assert search.best_estimator_.loss.gamma in (0.5, 2.0)


def test_calibration_on_rows_given_apart(texts, labels, validation):
    apart = [record.text for record in validation], [record.topic for record in validation]
    model = TopicClassifier(**TINY, epochs=2).fit(texts, labels, calibration_set=apart)
    assert model.class_count_.sum() == len(texts)
    assert model.calibration_.report.rows == len(validation)
    with pytest.raises(ValueError, match="the label 'politics', which y lacks"):
        TopicClassifier(**TINY, epochs=1).fit(texts, labels, calibration_set=(["a"], ["politics"]))


def test_a_probe_fits_a_map_on_rows_given_apart_alone(base, texts, labels, validation):
    apart = [record.text for record in validation], [record.topic for record in validation]
    probe = TopicClassifier(base, recipe="probe", names=False, max_tokens=32, trainer=TINY["trainer"], random_state=0)
    assert probe.fit(texts, labels).calibration_.report.kind == "none"
    report = probe.fit(texts, labels, calibration_set=apart).calibration_.report
    assert (report.asked or report.kind, report.rows) == ("bias_corrected_temperature", len(validation))


def test_log_probabilities(unsure, texts):
    np.testing.assert_allclose(np.exp(unsure.predict_log_proba(texts)), unsure.predict_proba(texts), atol=1e-6)


def test_a_decision_by_label(unsure, texts):
    model = clone(unsure)
    model.__dict__.update(unsure.__dict__)
    assert set(
        model.set_params(decision=DecisionSettings(costs={"courts": dict.fromkeys(["energy", "sport"], 1e30)})).predict(
            texts
        )
    ) == {"courts"}
    bar = float(np.median(model.predict_proba(texts).max(1)))
    some = model.set_params(decision=DecisionSettings(min_confidence=bar)).predict(texts)
    undecided = np.array([label is None for label in some])
    assert 0 < undecided.sum() < len(texts)
    assert (some[~undecided] == unsure.predict(texts)[~undecided]).all()
    with pytest.raises(UserError, match="names 'politics'"):
        model.set_params(decision=DecisionSettings(min_confidence={"politics": 0.5})).predict(texts)


def test_a_tuned_decision_is_fitted_and_read_when_predicting(texts, labels):
    asked = DecisionSettings(undecided=0.5)
    model = TopicClassifier(**TINY | {"learning_rate": 0.005}, epochs=1, decision=asked).fit(texts, labels)
    least = model.corrector_.decision.decision.least[0]
    expected = model.predict_proba(texts).max(1) >= least
    assert ([label is not None for label in model.predict(texts)] == expected).all()
    model.set_params(target_prior="train")  # worked out again
    assert sum(label is None for label in model.predict(texts)) > 0
    kept = model.corrector_
    assert "decision" in vars(kept)
    model.predict(texts)
    assert model.corrector_ is kept  # but once


def test_calibrated_by_scikit_learn_with_weights(texts, labels):
    model = CalibratedClassifierCV(TopicClassifier(**TINY, epochs=4, calibration="none"), cv=2, ensemble=False)
    weights = np.where(labels == "courts", 5.0, 1.0)
    assert model.fit(texts, labels, sample_weight=weights).score(texts, labels) > 0.9


@pytest.mark.parametrize("kind", [lambda x: [[text] for text in x], lambda x: pandas.DataFrame({"text": x})])
def test_bagged(texts, labels, kind):
    bag = BaggingClassifier(TopicClassifier(**TINY, epochs=4), n_estimators=2, random_state=0)
    assert bag.fit(kind(texts), labels).score(kind(texts), labels) > 0.9


def test_cleanlab_finds_a_wrong_label(texts, labels):
    wrong = labels.copy()
    row = int((labels == "sport").nonzero()[0][0])
    wrong[row] = "energy"
    codes = np.unique(wrong, return_inverse=True)[1]
    finder = CleanLearning(TopicClassifier(**TINY, epochs=4, validation_share=0), cv_n_folds=3, seed=0)
    issues = finder.find_label_issues(np.array(texts), codes)  # cleanlab takes no lists: it indexes rows by lists
    assert issues["is_label_issue"][row]
    assert issues["is_label_issue"].sum() < 6


def test_shares_by_label_are_looked_through_once():
    class Shares(dict):
        looks = 0

        def __iter__(self):
            self.looks += 1
            return super().__iter__()

    shares = Shares.fromkeys([f"topic {number:02}" for number in range(50)], 1.0)
    model = TopicClassifier(target_prior=shares)
    model.classes_ = np.array(sorted(dict.keys(shares)))
    assert model._target() == dict(shares)
    assert shares.looks <= 2  # one of them for the comparison here


def test_undecided_rows_are_scored_as_wrong(texts, labels):
    model = TopicClassifier(**TINY | {"learning_rate": 0.005}, epochs=1, decision=DecisionSettings())
    search = GridSearchCV(model, {"decision__undecided": [0.2, 0.6]}, cv=2, error_score="raise").fit(texts, labels)
    assert search.best_params_ == {"decision__undecided": 0.2}
    decided = search.predict(texts)
    right = np.array([label is not None and label == given for label, given in zip(decided, labels, strict=True)])
    assert (decided == None).sum() > 0  # noqa: E711 an array of objects
    assert search.score(texts, labels) == right.mean()
    weights = np.arange(len(texts))
    scored = search.best_estimator_.score(texts, labels, sample_weight=weights)
    assert scored == pytest.approx((right * weights).sum() / weights.sum())


def test_a_fit_that_fails_leaves_the_classifier_as_it_was(unsure, texts, labels):
    model = copy(unsure)
    expected = model.predict(texts)
    model.set_params(target_prior={"no such label": 1.0})
    with pytest.raises(UserError, match="no such label"):
        model.fit(texts, np.char.add("other ", labels))
    model.set_params(target_prior="uniform")
    assert (model.predict(texts) == expected).all()
