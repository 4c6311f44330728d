"""The audit of anyone's predictions: numbers worked by hand, what is counted, what is refused."""

import json
import math
import re
import subprocess
import sys

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap
from sklearn.metrics import f1_score, recall_score

from unskew.balance import confusion as counted
from unskew.balance import judged_prior_pull, topic_metrics
from unskew.cli.main import main
from unskew.common import UserError, write_jsonl
from unskew.evaluation.audit_files import AuditColumns
from unskew.evaluation.audit_predictions import _resampled, audit, measure_skew, pull_interval, wilson_interval
from unskew.evaluation.audit_tables import most_skewed, verdict
from unskew.evaluation.labelled_predictions import join

TRUE = ["oil"] * 4 + ["tin"] * 4
COUNTS = {"oil": 150, "tin": 5}


@pytest.fixture
def write(tmp_path):
    """Writes predictions and labels; gives what `join` takes."""

    def written(predictions, labels=None, train=COUNTS):
        write_jsonl(tmp_path / "predictions.jsonl", predictions)
        write_jsonl(tmp_path / "labels.jsonl", labels or rows(TRUE))
        (tmp_path / "train.json").write_text(json.dumps(train))
        names = ("predictions.jsonl", "labels.jsonl", "train.json")
        return [str(tmp_path / name) for name in names]

    return written


def rows(decided, **more):
    return [{"id": f"r{i}", "topic": topic, **more} for i, topic in enumerate(decided)]


def audited(files, columns=AuditColumns()):  # noqa: B008 frozen
    return measure_skew(join(*files, columns))  # pyright: ignore[reportCallIssue]


def test_measures_worked_by_hand(write):
    got = audited(write(rows(["oil"] * 6 + ["tin"] * 2)))
    assert got.rows == 8
    assert got.metrics["accuracy"] == 6 / 8
    assert got.metrics["balanced_accuracy"] == (1 + 1 / 2) / 2
    assert got.metrics["macro_f1"] == pytest.approx((8 / 10 + 4 / 6) / 2)
    assert got.metrics["worst_topic_recall"] == got.metrics["recall_few"] == 0.5
    assert got.metrics["recall_many"] == 1
    assert got.metrics["recall_medium"] is None
    # Add-half shares: true 1/2 each, decided 6.5/9 and 2.5/9, training 150.5/156 and 5.5/156. With two topics of equal
    # true share the slope is the ratio of the log odds.
    assert got.metrics["prior_pull"] == pytest.approx(math.log(6.5 / 2.5) / math.log(150.5 / 5.5))
    assert got.metrics["marginal_kl"] == pytest.approx(
        0.5 * math.log(0.5 / (6.5 / 9)) + 0.5 * math.log(0.5 / (2.5 / 9))
    )
    assert "nll" not in got.metrics
    oil, tin = got.topics
    assert (oil.true_share, oil.predicted_share, oil.times) == (0.5, 0.75, 6.5 / 4.5)
    assert (tin.topic, tin.rows, tin.recall, tin.training_share) == ("tin", 4, 0.5, 5 / 155)


def test_probability_measures_worked_by_hand(write):
    sure = {"oil": 0.9, "tin": 0.1}
    given = [{"id": "r0", "topic": "oil", "topics": sure}, {"id": "r4", "topic": "oil", "topics": sure}]
    got = audited(write(given))
    assert got.rows == 2
    assert got.metrics["nll"] == pytest.approx(-(math.log(0.9) + math.log(0.1)) / 2)
    assert got.metrics["ece"] == pytest.approx(abs(0.5 - 0.9))
    assert got.metrics["ece_many"] == got.metrics["ece"]
    assert got.metrics["ece_few"] is None
    assert got.problems == {"unpredicted": 6}


def test_equals_the_measures_of_whole_distributions(write):
    generator = torch.Generator().manual_seed(0)
    names = ["a", "b", "c"]
    probabilities = torch.rand(300, 3, generator=generator).double().softmax(-1)
    targets = torch.randint(0, 3, (300,), generator=generator)
    train = {"a": 500, "b": 40, "c": 3}
    predictions = [
        {"id": i, "topic": names[max(range(3), key=row.__getitem__)], "topics": dict(zip(names, row, strict=True))}
        for i, row in enumerate(probabilities.tolist())
    ]
    labels = [{"id": i, "topic": names[target]} for i, target in enumerate(targets.tolist())]
    got = audited(write(predictions, labels, train))
    assert got.problems == {}
    assert got.metrics == pytest.approx(topic_metrics(probabilities, targets, list(train.values())))


def test_rest_of_top_k_is_spread_evenly(write):
    labels = rows(["oil", "tin", "rye", "tea"])
    given = [{"id": "r1", "topic": "oil", "topics": {"oil": 0.7}}]
    got = audited(write(given, labels, {"oil": 9, "tin": 9, "rye": 9, "tea": 9}))
    assert got.metrics["nll"] == pytest.approx(-math.log(0.1))
    assert got.problems["spread"] == 1


def test_undecided_and_unknown_topics_are_wrong_and_counted(write):
    got = audited(write(rows(["oil", None, "OIL", "oil", "tin", "tin", ["tin"], ""])))
    assert got.problems == {"undecided": 2, "unknown_topic": 2}
    assert got.examples["unknown_topic"] == "'OIL'"
    assert got.metrics["accuracy"] == 0.5
    assert got.metrics["balanced_accuracy"] == 0.5
    assert got.metrics["macro_f1"] == pytest.approx(4 / 6)
    assert sum(topic.predicted_share for topic in got.topics) == 0.5


def test_columns_numbers_and_formats(tmp_path):
    pandas.DataFrame({"key": [1, 2, 3], "y": ["oil", "tin", "tin"]}).to_parquet(tmp_path / "labels.parquet")
    cells = pandas.DataFrame({"key": [3, 1, 2], "p": ["tin", "oil", "oil"], "q": ['{"tin": 1.0}', '{"oil": 0.9}', ""]})
    cells.to_csv(tmp_path / "p.csv", index=False)
    write_jsonl(tmp_path / "train.jsonl", [{"label": "oil"}, {"label": "oil"}, {"label": "tin"}, {"label": "rye"}])
    columns = AuditColumns(id="key", topic="p", topics="q", label="y", train="label")
    files = [str(tmp_path / name) for name in ("p.csv", "labels.parquet", "train.jsonl")]
    joined = join(*files, columns)  # pyright: ignore[reportCallIssue]
    assert joined.topics.to_dict() == {"names": ["oil", "rye", "tin"], "counts": [2, 1, 1]}
    assert joined.true.tolist() == [0, 2, 2]
    assert joined.decided.tolist() == [0, 0, 2]
    assert joined.own.tolist() == pytest.approx([0.9, math.nan, 1.0], nan_ok=True)
    assert joined.counts["bad_probabilities"] == 1


def test_one_file_may_hold_both(tmp_path):
    write_jsonl(tmp_path / "evaluation.jsonl", [{"true_topic": t, "topic": "oil"} for t in TRUE])
    both = str(tmp_path / "evaluation.jsonl")
    got = audited([both, both, None], AuditColumns(label="true_topic"))
    assert got.metrics["accuracy"] == 0.5
    assert "prior_pull" not in got.metrics
    assert "recall_few" not in got.metrics


@pytest.mark.parametrize(
    ("predictions", "labels", "train", "said"),
    [
        (rows(TRUE) + rows(["oil"]), None, COUNTS, "'r0' occurs twice among the predictions"),
        (rows(TRUE), rows(TRUE) + rows(["oil"]), COUNTS, "'r0' occurs twice among the labels"),
        ([{"id": "x", "topic": "oil"}], None, COUNTS, "no id of the predictions \\('x', ...\\)"),
        (
            [{"id": "r0", "answer": "oil"}],
            None,
            COUNTS,
            "no column 'topic'; its columns are 'id', 'answer'; .* columns.topic$",
        ),
        (rows(TRUE), rows([None] * 8), COUNTS, "line 1: no topic in the column 'topic'"),
        (rows(TRUE), None, {"Oil": 3}, "no topic of the labels"),
        (rows(TRUE), None, {"oil": "many"}, "no column 'topic'.* with columns.train$"),
    ],
)
def test_refused_in_one_line(write, predictions, labels, train, said):
    with pytest.raises(UserError, match=said) as refused:
        audited(write(predictions, labels, train))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "given", [{"oil": 0.9, "tin": 0.3}, {"oil": 0.4, "tin": 0.3}, {"oil": -0.5, "tin": 1.5}, [0.5, 0.5], "{"]
)
def test_bad_probabilities_are_left_out_and_counted(write, given):
    predictions = rows(TRUE, topics={"oil": 0.6, "tin": 0.4})
    predictions[0]["topics"] = given
    got = audited(write(predictions))
    assert got.problems["bad_probabilities"] == 1
    assert got.metrics["nll"] == pytest.approx(-(3 * math.log(0.6) + 4 * math.log(0.4)) / 7)
    assert got.metrics["accuracy"] == 1


def test_bootstrap_is_that_of_scipy():
    chance = np.random.default_rng(0)
    true, decided = chance.integers(0, 3, 200), chance.integers(0, 3, 200)
    decided[:120] = true[:120]
    rows_ = counted.confusion(torch.from_numpy(decided), torch.from_numpy(true), 3)
    ours = torch.cat([counted.f1(some).nanmean(-1) for some in _resampled(rows_, 0)]).quantile(
        torch.tensor([0.025, 0.975], dtype=torch.float64)
    )
    theirs = bootstrap(
        (true, decided), lambda t, d: f1_score(t, d, average="macro"), paired=True, vectorized=False,
        method="percentile", n_resamples=500, rng=0,
    ).confidence_interval  # fmt: skip
    assert ours.tolist() == pytest.approx(list(theirs), abs=0.015)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_counted_measures_are_scikit_learns(pairs):
    true, decided = (list(values) for values in zip(*pairs, strict=True))
    cells = counted.confusion(torch.tensor(decided), torch.tensor(true), 4)
    recalls = recall_score(true, decided, labels=sorted(set(true)), average="macro")
    assert counted.recall(cells).nanmean().item() == pytest.approx(recalls)
    assert counted.f1(cells).nanmean().item() == pytest.approx(f1_score(true, decided, average="macro"))
    stacked = torch.stack([cells, 2 * cells])
    assert counted.recall(stacked)[1].tolist() == pytest.approx(counted.recall(cells).tolist(), nan_ok=True)


@pytest.mark.parametrize(
    ("decisions", "words"),
    [
        (
            ["oil"] * 350 + ["tin"] * 50,
            "are pulled toward .*: prior pull 0\\.59 .*; 'tin' suffers most: 50.0% of the rows",
        ),
        ((["oil"] * 9 + ["tin"]) * 20 + (["tin"] * 9 + ["oil"]) * 20, "no significant pull .*: 0\\.00"),
        (["oil"] * 50 + ["tin"] * 350, "lean away from the training shares: prior pull -0\\.59"),
    ],
)
def test_verdict(write, decisions, words):
    got = audited(write(rows(decisions), rows(["oil"] * 200 + ["tin"] * 200)))
    assert got.intervals["prior_pull"][0] < got.metrics["prior_pull"] < got.intervals["prior_pull"][1]
    assert re.search(words, verdict(got)), verdict(got)


def test_equal_shares_have_nothing_to_be_pulled_toward(write):
    got = audited(write(rows(["oil"] * 8), None, {"oil": 50, "tin": 50}))
    assert got.metrics["prior_pull"] is None
    assert "nearly the same" in verdict(got)
    assert [topic.topic for topic in most_skewed(got)] == ["oil", "tin"]


def skewed_rows(chance, topics, shares, copies, rows):
    """Counts at [true, decided] of `rows` test rows in `shares`; errors go anywhere, a share `copies` of them by p."""
    train = np.geomspace(500, 5, topics).round()
    rates = np.empty((topics, topics))
    for topic in range(topics):
        errors = (copies * train / train.sum() + (1 - copies) / topics) * chance.gamma(0.5, size=topics)
        errors[topic] = 0
        rates[topic] = 0.3 * errors / errors.sum()
        rates[topic, topic] = 0.7
    wanted = {"training": train, "root": train**0.5, "few": chance.uniform(2, 10, topics)}[shares]
    wanted = wanted / wanted.sum()
    true = chance.multinomial(rows, wanted)
    drawn = np.stack([chance.multinomial(n, own) for n, own in zip(true, rates, strict=True)])
    x, y = np.log(train / train.sum() / wanted), np.log(wanted @ rates / wanted)
    x = x - wanted @ x
    return torch.from_numpy(drawn).double(), train, (wanted @ (x * y)) / (wanted @ x**2)


@pytest.mark.parametrize("topics", [12, 52, 100, 300])
def test_no_pull_is_found_where_test_shares_are_the_training_shares(topics):
    chance = np.random.default_rng(topics)
    pulls = []
    for _ in range(40):
        rows_, train, _ = skewed_rows(chance, topics, "training", 0, 6 * topics)
        pulls.append(judged_prior_pull(rows_, train))
    assert sum(math.isnan(pull) for pull in pulls) >= 38  # at 1%


@pytest.mark.parametrize(("topics", "shares"), [(12, "root"), (100, "root"), (100, "few")])
def test_pull_is_covered_with_few_rows_a_topic(topics, shares):
    chance = np.random.default_rng(7)
    covered = 0
    for _ in range(8):
        rows_, train, truth = skewed_rows(chance, topics, shares, 0.6, 6 * topics if topics > 12 else 600)
        low, high = pull_interval(rows_, train, seed=0)
        covered += low <= truth <= high
    assert covered >= 5  # of 8: with a coverage of 0.9 fewer come once in 200; benchmarks/statistics/ has more


def test_command_writes_and_prints(write, tmp_path, capsys):
    predictions, labels, train = write(rows(["oil"] * 5 + ["tin", "tin", "[/]"], topics={"oil": 1.0}))
    options = ["--predictions", predictions, "--labels", labels, "--output", str(tmp_path / "audit")]
    with pytest.raises(SystemExit) as ended:
        main(["audit", *options, "--train", train])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "prior pull" in out
    assert "1 predictions name a topic that neither labels nor training set have" in out
    stored = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert stored["metrics"]["accuracy"] == 0.75
    assert stored["verdict"] in out
    assert (tmp_path / "audit" / "audit.png").stat().st_size > 1000
    with pytest.raises(UserError, match="--overwrite"):
        audit(predictions, labels, output=str(tmp_path / "audit"))


def test_rows_left_out_show_in_the_exit_code(write, capsys):
    predictions, labels, _ = write(rows(TRUE[:7]))
    assert audit(predictions, labels).problems == {"unpredicted": 1}
    with pytest.raises(SystemExit) as ended:
        main(["audit", "--predictions", str(predictions), "--labels", str(labels)])
    assert ended.value.code == 3
    assert "1 labels have no prediction" in capsys.readouterr().out


def test_starts_without_the_models_libraries():
    heavy = ["transformers", "lightning", "peft", "datasets"]
    code = f"import sys, unskew.evaluation.audit_tables; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("right", "rows"), [(9, 10), (0, 7), (20, 20), (150, 400)])
def test_wilson_interval_is_scipys(right, rows):
    theirs = binomtest(right, rows).proportion_ci(method="wilson")
    assert wilson_interval(right / rows, rows) == pytest.approx((theirs.low, theirs.high), abs=1e-4)
