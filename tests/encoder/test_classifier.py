"""TopicClassifier: scikit-learn's contract, and probabilities that are right for the prior one asks for.

scikit-learn's checks feed tables of numbers, and skip an estimator of texts. So they are asked of `OfTables`, which
says that it takes some, and run on the class itself, each row of numbers being read as a text of so many words.
"""

import pickle
import tempfile

import joblib
import numpy as np
import pandas
import pytest
import scipy.sparse
import torch
from cleanlab.filter import find_label_issues
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks, get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks
from tiny_classifier import TINY

from unskew.balance import DecisionSettings, PosteriorCorrector
from unskew.common import UserError
from unskew.corpus import Record, Topics
from unskew.encoder import EncoderSettings, TopicClassifier, TopicEncoder, classifier, fit_topic_encoder
from unskew.encoder.texts_and_labels import as_texts

CPU = {"accelerator": "cpu", "devices": 1}
BASED = {"base": "some/base", "learning_rate": 1e-4}


class OfTables(TopicClassifier):
    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


def spelt(table):
    """A text for each row, a word for each number; what is no table of numbers stays."""
    values = np.asarray(table)
    if values.ndim != 2:
        return as_texts(values if hasattr(table, "__array__") else table)
    rows = 2 * np.clip(values.astype(float), -9, 9) + 50
    return [" ".join(f"{chr(97 + i % 26)}{int(x)}" for i, x in enumerate(row)) for row in rows]


def as_they_are(_, table, X_test=None, **kernel):  # noqa: N803
    return table if X_test is None else (table, X_test)


@parametrize_with_checks(
    [OfTables(**TINY, epochs=1)],
    expected_failed_checks=lambda _: {
        **dict.fromkeys(
            ("check_estimators_empty_data_messages", "check_estimators_nan_inf", "check_estimator_sparse_tag")
            + ("check_estimator_sparse_array", "check_estimator_sparse_matrix", "check_n_features_in")
            + ("check_fit2d_predict1d", "check_complex_data"),
            "of tables: texts have no features, and no text is a number",
        ),
        "check_classifiers_train": "wants an accuracy that one epoch of a tiny model does not have",
        "check_class_weight_classifiers": "weights act on what is learned; the target prior on what is decided",
        "check_sample_weight_equivalence_on_dense_data": "a row that occurs twice is in two batches",
        "check_methods_subset_invariance": "float32 products differ in the last bit with the size of the batch",
        "check_methods_sample_order_invariance": "and with the rows that are batched together",
    },
)
def test_scikit_learns_checks(estimator, check, monkeypatch):
    monkeypatch.setattr(classifier, "as_texts", spelt)
    monkeypatch.setattr(estimator_checks, "_enforce_estimator_tags_X", as_they_are)
    check(TopicClassifier(**estimator.get_params(deep=False)))


@pytest.fixture(scope="module")
def fitted(texts, labels):
    return TopicClassifier(**TINY, epochs=4).fit(texts, labels)


def test_is_tagged_as_taking_texts():
    tags = get_tags(TopicClassifier())
    assert (tags.input_tags.string, tags.input_tags.two_d_array, tags.input_tags.one_d_array) == (True, False, True)
    assert tags.classifier_tags.multi_class


def test_learns_rare_classes_too(fitted, validation):
    assert fitted.classes_.tolist() == ["courts", "energy", "sport"]
    assert fitted.class_count_.tolist() == [5, 51, 26]
    true = np.array([record.topic for record in validation])
    decided = fitted.predict([record.text for record in validation])
    assert all((decided[true == topic] == topic).mean() > 0.9 for topic in fitted.classes_)


@pytest.mark.parametrize("loss", ["cross_entropy", "balanced_softmax"])
@pytest.mark.parametrize("target", ["uniform", "train", {"courts": 2, "sport": 2}])
def test_probabilities_are_those_of_the_pipeline(texts, labels, loss, target):
    model = TopicClassifier(**TINY, epochs=1, loss=loss, sampling_ratio=3.0, target_prior=target).fit(texts, labels)
    topics = Topics(model.encoder_.topics, tuple(model.class_count_.tolist()))
    shares = {"courts": 2, "sport": 2} if isinstance(target, dict) else target
    corrector = PosteriorCorrector(
        topics, tuple(model.model_prior_.tolist()), model.calibration_, (1, 0, 0)
    ).with_target_prior(shares)
    expected = corrector(model.encoder_.logits(texts)).numpy()
    np.testing.assert_allclose(model.predict_proba(texts), expected, atol=1e-5)
    if isinstance(target, dict):
        assert model.predict_proba(texts)[:, 1].max() == 0


def test_target_prior_moves_the_odds_and_needs_no_refit(fitted, texts):
    uniform = fitted.predict_proba(texts)
    trained = clone(fitted)
    trained.__dict__.update(fitted.__dict__)
    trained.set_params(target_prior="train")
    expected = uniform * fitted.class_count_
    np.testing.assert_allclose(trained.predict_proba(texts), expected / expected.sum(1, keepdims=True), atol=1e-4)


def test_decision_function_is_the_log_of_the_probabilities(fitted, texts, labels):
    probabilities = fitted.predict_proba(texts)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(1), 1)
    np.testing.assert_allclose(np.exp(fitted.decision_function(texts)), probabilities, rtol=1e-5)
    two = TopicClassifier(**TINY, epochs=1).fit(texts, labels == "sport")
    odds = two.predict_proba(texts)
    np.testing.assert_allclose(two.decision_function(texts), np.log(odds[:, 1] / odds[:, 0]), rtol=1e-4, atol=1e-5)
    assert two.predict(texts).dtype == bool


@pytest.mark.parametrize(
    "kind", [list, np.array, pandas.Series, lambda x: pandas.Series(x, index=range(7, 7 + len(x)))]
)
def test_kinds_of_input(fitted, texts, labels, kind):
    model = TopicClassifier(**TINY, epochs=4).fit(kind(texts), kind(labels.tolist()))
    assert (model.predict(kind(texts)) == fitted.predict(texts)).all()


@pytest.mark.parametrize("names", [[10, 20, 30], [-1, 0, 1], ["", " ", "a/b <|x|>"], [1.0, 2.0, 3.0]])
def test_any_labels(texts, labels, names):
    given = np.array(names)[np.unique(labels, return_inverse=True)[1]]
    model = TopicClassifier(**TINY, epochs=1).fit(texts, given)
    assert model.classes_.tolist() == sorted(names)
    assert set(model.predict(texts)) <= set(given)
    weighted = TopicClassifier(**TINY, epochs=1, class_weight={names[0]: 3.0}).fit(texts, given)
    rows = weighted.class_count_
    assert weighted.model_prior_[0] == pytest.approx(3 * rows[0] / (3 * rows[0] + rows[1] + rows[2]))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("one text", "write \\[text\\]"),
        (np.zeros((3, 2)), "1-D sequence of texts, got the shape \\(3, 2\\)"),
        (pandas.DataFrame({"text": ["a", "b", "c"], "title": ["d", "e", "f"]}), "select the column"),
        (scipy.sparse.csr_matrix(np.eye(3)), "1-D sequence"),
        (["a", None, "c"], "row 1 of X is None"),
        (["a", float("nan"), "c"], "row 1 of X is nan, a float"),
        (["a", "b", "x\ud800"], "row 2 of X has half a surrogate pair .character 2."),
        ([], "0 sample"),
    ],
)
def test_what_is_no_sequence_of_texts_is_refused(fitted, given, said):
    with pytest.raises(ValueError, match=said):
        TopicClassifier(**TINY).fit(given, [0, 1, 0])
    with pytest.raises(ValueError, match=said):
        fitted.predict(given)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"target_prior": "natural"}, "uniform, train, or shares by label"),
        ({"target_prior": {"politics": 1}}, "'politics', which is not among the labels"),
        ({"class_weight": {"politics": 2}}, "class_weight names 'politics'"),
        ({"validation_share": 1.0}, "validation_share"),
        (BASED | {"class_weight": {"courts": 2}}, "^class_weight has no effect with recipe tuned.*target_prior="),
        (BASED | {"class_weight": "effective_number"}, "^class_weight has no effect with recipe tuned"),
        ({"loss": "hinge"}, "unknown loss 'hinge'"),
        ({"epochs": -1}, "epochs"),
        ({"epochs": 2.5}, "^epochs is 2.5; give a whole number"),
        ({"epochs": "3"}, "^epochs is '3'; give a whole number"),
        ({"learning_rate": "fast"}, "^learning_rate is 'fast', where a number is needed"),
        ({"validation_share": "0.1"}, "^validation_share is '0.1', where a number is needed"),
        ({"scratch": {"layers": 1}}, r"^scratch is {'layers': 1}; give ScratchSettings\(...\)"),
        ({"decision": {"accuracy": 0.9}}, r"^decision is {'accuracy': 0.9}; give DecisionSettings\(...\)"),
        ({"loss": {"name": "focal"}}, r"^loss is .*; give LossSettings\(...\)"),
        ({"target_prior": np.array([0.2, 0.3, 0.5])}, "^target_prior is array.*uniform, train, or shares by label"),
        ({"target_prior": {"courts": "x"}}, "^target_prior is 'x', where a number is needed"),
        ({"class_weight": {"courts": None}}, "^class_weight is None, where a number is needed"),
        ({"calibration": "temprature"}, "calibration is 'temprature'; give one of none, temperature"),
        ({"decision": DecisionSettings(min_confidence={"politics": 0.5})}, "min_confidence names 'politics'"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_before_training(texts, labels, parameters, said, monkeypatch):
    monkeypatch.setattr("unskew.encoder.classifier.fit_topic_encoder", None)
    with pytest.raises(UserError, match=said):
        TopicClassifier(**{**TINY, "epochs": 1, **parameters}).fit(texts, labels)


@pytest.mark.parametrize("given", [{"recipe": "tuned", "rows_per_batch": 8, "max_steps": 20}, {"recipe": "probe"}])
def test_a_pretrained_base_is_fitted_as_by_the_pipeline(base, texts, labels, given, tmp_path):
    given = {**given, "names": False, "max_tokens": 32}
    model = TopicClassifier(base, **given, class_weight="balanced", trainer=CPU, random_state=0).fit(texts, labels)
    rows = [Record(text, str(row), str(label)) for row, (text, label) in enumerate(zip(texts, labels, strict=True))]
    topics = Topics(("courts", "energy", "sport"), (6, 60, 30))
    seed = int(np.random.RandomState(0).randint(2**31 - 1))
    settings = EncoderSettings(base, **given, trainer=CPU)
    expected = fit_topic_encoder(rows, [], None, topics, settings, tmp_path, seed).encoder.logits(texts)
    assert torch.equal(model.encoder_.logits(texts), expected)
    np.testing.assert_allclose(model.predict_log_proba(texts), expected.log_softmax(-1), atol=1e-5)


def test_after_a_fit_the_model_is_on_the_cpu(texts, labels, monkeypatch):
    moved = []

    def watched(*given):
        fitted = fit_topic_encoder(*given)
        monkeypatch.setattr(fitted.encoder.model, "to", moved.append)  # a probe leaves it on a GPU, if there is one
        return fitted

    monkeypatch.setattr(classifier, "fit_topic_encoder", watched)
    TopicClassifier(**TINY, epochs=1).fit(texts, labels)
    assert moved == ["cpu"]


def test_unfitted_is_said():
    with pytest.raises(NotFittedError):
        TopicClassifier().predict(["text"])


def test_without_held_out_rows_nothing_is_calibrated(texts, labels):
    model = TopicClassifier(**TINY, epochs=1, validation_share=0).fit(texts, labels)
    assert model.calibration_.report is None
    assert model.class_count_.sum() == len(texts)


def test_held_out_rows_repeat_no_training_text(texts, labels):
    once = list(dict.fromkeys(texts))
    topic = dict(zip(texts, labels, strict=True))
    model = TopicClassifier(**TINY, epochs=1).fit(once * 50, [topic[text] for text in once] * 50)
    assert model.class_count_.sum() == 50 * len(once)
    assert model.calibration_.report is None


def test_held_out_rows_repeat_no_training_text_spelt_otherwise(texts, labels):
    topic = dict(zip(texts, labels, strict=True))
    rows = [(" " * blanks + text, topic[text]) for text in topic for blanks in range(20)]
    model = TopicClassifier(**TINY, epochs=1).fit(*zip(*rows, strict=True))
    assert model.class_count_.sum() == len(rows)


def test_leaves_nothing_behind_and_says_nothing(texts, labels, tmp_path, monkeypatch, capfd, caplog):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    state = torch.random.get_rng_state()
    TopicClassifier(**TINY, epochs=1).fit(texts, labels)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.name.startswith("lightning")] == []
    assert torch.equal(torch.random.get_rng_state(), state)


def test_work_folder_keeps_the_checkpoints(texts, labels, tmp_path):
    model = TopicClassifier(**TINY, epochs=1, work_folder=tmp_path).fit(texts, labels)
    assert list(tmp_path.rglob("best.ckpt"))
    again = clone(model).fit(texts, labels)
    assert (again.predict_proba(texts) == model.predict_proba(texts)).all()


def test_pickles_and_encoder_folder(fitted, texts, tmp_path):
    expected = fitted.predict_proba(texts)
    assert (pickle.loads(pickle.dumps(fitted)).predict_proba(texts) == expected).all()
    joblib.dump(fitted, tmp_path / "model.joblib")
    assert (joblib.load(tmp_path / "model.joblib").predict_proba(texts) == expected).all()
    fitted.encoder_.save_pretrained(tmp_path / "encoder")
    read = TopicEncoder.from_pretrained(tmp_path / "encoder")
    assert read.topics == tuple(fitted.classes_)
    assert torch.equal(read.logits(texts), fitted.encoder_.logits(texts))


def test_grid_search_in_a_pipeline(texts, labels):
    lower = FunctionTransformer(lambda rows: [text.lower() for text in rows])
    pipeline = make_pipeline(lower, TopicClassifier(**TINY))
    grid = {"topicclassifier__epochs": [1, 4], "topicclassifier__loss": ["focal"]}
    search = GridSearchCV(pipeline, grid, cv=2, scoring="balanced_accuracy", error_score="raise").fit(texts, labels)
    assert search.best_params_["topicclassifier__epochs"] == 4
    assert search.score(texts, labels) > 0.9


def test_noise_finders_see_a_wrong_label(texts, labels):
    wrong = labels.copy()
    row = int((labels == "sport").nonzero()[0][0])
    wrong[row] = "energy"
    model = TopicClassifier(**TINY, epochs=4, validation_share=0)
    out_of_fold = cross_val_predict(model, list(texts), wrong.tolist(), cv=3, method="predict_proba")
    assert out_of_fold.shape == (len(texts), 3)
    codes = np.unique(wrong, return_inverse=True)[1]
    doubted = find_label_issues(codes.tolist(), out_of_fold, filter_by="predicted_neq_given")
    assert doubted.nonzero()[0].tolist() == [row]


@pytest.mark.parametrize("method", ["sigmoid", "temperature"])
def test_calibrated_by_scikit_learn(texts, labels, method):
    model = CalibratedClassifierCV(TopicClassifier(**TINY, epochs=4, calibration="none"), method=method, cv=2)
    assert model.fit(texts, labels).score(texts, labels) > 0.9


def test_fits_in_threads_are_those_that_each_would_be_alone(texts, labels):
    def probabilities(seed):
        return TopicClassifier(**{**TINY, "random_state": seed, "epochs": 1}).fit(texts, labels).predict_proba(texts)

    alone = [probabilities(seed) for seed in range(3)]
    with joblib.parallel_backend("threading", n_jobs=3):
        together = joblib.Parallel()(joblib.delayed(probabilities)(seed) for seed in range(3))
    np.testing.assert_array_equal(together, alone)
