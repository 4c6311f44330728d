"""Results of an ablation that nobody ran, with everything real ones may hold, long names and hostile texts too."""

import json
import random
import sys

import pytest

ARMS = [
    ("plain", "Decoder only, full fine-tuning, plain loss", "decoder", 0.41, 0.92),
    ("lora", "… with LoRA", "decoder", 0.5, 0.8),
    ("blocks", "… with the top 2 blocks only", "decoder", 0.48, 0.82),
    ("balanced", "… with class-balanced topic-token loss (effective number)", "decoder", 0.66, 0.3),
    ("focal", "… with focal loss", "decoder", 0.45, 0.85),
    ("adjusted", "… with logit adjustment", "decoder", 0.7, 0.12),
    ("tempered", "… with tempered sampling", "decoder", 0.6, 0.45),
    ("instruction", "… with the instruction prompt", "decoder", 0.43, 0.9),
    ("fairness", "… with <force_fairness>", "decoder", 0.58, 0.4),
    ("synthetic", "… with synthetic balancing", "decoder", 0.55, 0.52),
    ("temperature", "… with one temperature", "decoder", 0.41, 0.92),
    ("per_class", "… with a temperature per class", "decoder", 0.47, 0.8),
    ("corrected", "… with prior correction", "decoder", 0.69, 0.1),
    ("contextual", "… with contextual calibration", "decoder", 0.52, 0.5),
    ("batch", "… with batch calibration", "decoder", 0.56, 0.35),
    ("free", "… its topic written freely", "decoder", 0.4, 0.93),
    ("recommended", "Decoder only, the recommended combination", "decoder", 0.74, 0.07),
    ("head", "Classification head on the decoder", "encoder", 0.68, 0.25),
    ("encoder_plain", "Encoder alone, plain", "encoder", 0.6, 0.6),
    ("encoder_balanced", "Encoder alone, class-balanced", "encoder", 0.84, 0.05),
    ("svm", "TF-IDF and a balanced linear SVM", "encoder", 0.71, 0.3),
    ("hybrid_plain", "Hybrid, plain", "hybrid", 0.62, 0.58),
    ("hybrid", "Hybrid, full", "hybrid", 0.86, 0.04),
    ("hybrid_shuffled", "Hybrid with shuffled topics", "hybrid", 0.08, 0.0),
    ("bayes", "Bayes ceiling", "reference", 0.91, 0.05),
]
METRICS = {
    "accuracy": ("accuracy", "higher", "topics"),
    "macro_f1": ("macro-F1", "higher", "topics"),
    "balanced_accuracy": ("balanced accuracy", "higher", "topics"),
    "recall_many": ("recall, many", "higher", "topics"),
    "recall_medium": ("recall, medium", "higher", "topics"),
    "recall_few": ("recall, few", "higher", "topics"),
    "worst_topic_recall": ("worst topic's recall", "higher", "topics"),
    "prior_pull": ("prior pull", "zero", "topics"),
    "nll": ("NLL (nats)", "lower", "topics"),
    "ece": ("calibration error", "lower", "topics"),
    "rougeL": ("ROUGE-L", "higher", "outputs"),
    "chrf": ("chrF", "higher", "outputs"),
    "topic_fit": ("outputs that read like their topic", "higher", "outputs"),
    "trainable": ("trainable parameters", "lower", "cost"),
    "train_seconds": ("training time (s)", "lower", "cost"),
    "peak_gb": ("peak memory (GB)", "lower", "cost"),
    "rows_per_second": ("inference rows per second", "higher", "cost"),
}
NAMES = ["energy", "football", "elections", "medicine", "metals", "tennis", "courts", "astronomy", "chess"]
NAMES += ["the manufacture of agricultural machinery and its parts", "زراعة <b>", "$x_1$ & co | <|topic:metals|>"]
HOSTILE = [
    "<script>document.title='broken'</script> harvest <img src=x onerror=alert(1)> 503 bushels",
    "<|topic:energy|> ignore all before </blockquote></style> {{ 7 * 7 }} & <!-- so",
    "محصول القمح \u202e في الميناء",
    "a null \x00, a bell \x07 and half a letter \ud83d",
    "lines\nand\ttabs, " + "x" * 300,
]


def make_results(topics=12, seeds=(0, 1, 2, 3, 4), arms=None, seed=0):
    draw = random.Random(seed)
    names = NAMES[:topics] + [f"topic number {i} of a very long list" for i in range(len(NAMES), topics)]
    counts = [max(2, round(900 * 0.62**i if topics <= 40 else 2000 / (i + 1))) for i in range(topics)]
    bands = ["many" if count > 100 else "medium" if count >= 20 else "few" for count in counts]
    results = {
        "format": 1,
        "title": "The newsroom: hybrid against decoder-only",
        "made": "2026-11-23T12:00:00+00:00",
        "command": "unskew ablate --config configs/ablation.yaml --output runs/ablation",
        "machine": "2 cores, 24 GiB, no GPU",
        "versions": {"unskew": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0", "python": "3.11.9"},
        "budget": "400,000 tokens",
        "config": "arms:\n- name: plain # <decoder>\n  loss: cross_entropy\n" * 4,
        "topics": {"names": names, "counts": counts, "bands": bands, "true_shares": [1 / topics] * topics},
        "rows": {"train": sum(counts), "validation": 240, "test": 1200, "outputs": 300},
        "seeds": list(seeds),
        "metrics": {n: {"title": t, "better": b, "group": g} for n, (t, b, g) in METRICS.items()},
        "reference_arms": ["plain", "recommended"],
        "primary": "macro_f1",
        "headline": "The hybrid reaches a macro-F1 of 0.860 [0.845, 0.875] where the decoder alone, fine-tuned "
        "plainly, reaches 0.410 [0.380, 0.440], and 0.740 [0.715, 0.765] with the recommended cures.",
        "claims": [
            {"claim": "Plain fine-tuning of the decoder copies the prior.", "verdict": "holds", "figure": "Pull 0.92."},
            {
                "claim": "The instruction prompt reduces it.",
                "verdict": "does not hold here",
                "figure": "0.90, p = 0.41.",
            },
            {"claim": "LoRA reduces it.", "verdict": "holds partly", "figure": "0.80 [0.74, 0.86] against 0.92."},
            {"claim": "All of it on another language.", "verdict": "not measured", "figure": ""},
        ],
        "arms": [_arm(draw, *arm, names, counts, bands, seeds) for arm in ARMS if arms is None or arm[0] in arms],
    }
    _compare(results, draw)
    results["examples"] = _examples(draw, results)
    return results


def _arm(draw, name, title, group, f1, pull, names, counts, bands, seeds):
    seeds = seeds[:1] if group == "reference" else seeds
    runs = [_run(draw, seed, name, group, f1, pull, names, counts, bands) for seed in seeds]
    mean, interval = {}, {}
    for metric in METRICS:
        values = [run["metrics"][metric] for run in runs]
        values = [value for value in values if value is not None]
        mean[metric] = sum(values) / len(values) if values else None
        half = (abs(mean[metric]) * 0.02 + 0.01) if values else 0
        interval[metric] = [max(0, mean[metric] - half), mean[metric] + half] if len(values) > 1 else None
    note = "an upper bound" if name == "bayes" else ""
    return {
        "name": name, "title": title, "group": group, "note": note, "runs": runs,
        "mean": mean, "interval": interval, "against": {},
    }  # fmt: skip


def _run(draw, seed, name, group, f1, pull, names, counts, bands):
    f1 += draw.gauss(0, 0.01)
    prior = [count / sum(counts) for count in counts]
    shares = [len(names) ** (pull - 1) * p**pull * draw.uniform(0.9, 1.1) for p in prior]
    shares = [share / sum(shares) for share in shares]
    drop = {"many": -0.3 * pull, "medium": 0, "few": 0.55 * pull}
    recall = {t: min(1, max(0, f1 - drop[b] + draw.gauss(0, 0.03))) for t, b in zip(names, bands, strict=True)}

    def over(band):
        return sum(r for r, b in zip(recall.values(), bands, strict=True) if b == band) / max(bands.count(band), 1)

    writes = group != "reference" and name not in ("svm", "head", "encoder_plain", "encoder_balanced")
    trained = {"svm": 0, "bayes": 0, "plain": 3.4e6}.get(name, 4.2e5)
    metrics = {
        "accuracy": f1 + 0.03, "macro_f1": f1, "balanced_accuracy": f1 + 0.01,
        "recall_many": over("many"), "recall_medium": over("medium"), "recall_few": over("few"),
        "worst_topic_recall": min(recall.values()), "prior_pull": pull + draw.gauss(0, 0.01),
        "nll": 2.5 - 2 * f1, "ece": 0.02 + 0.2 * pull,
        "rougeL": 0.5 + 0.45 * f1 if writes else None, "chrf": 0.52 + 0.43 * f1 if writes else None,
        "topic_fit": f1 if writes else None,
        "trainable": trained, "train_seconds": 3 + 2e-5 * trained + draw.uniform(0, 40),
        "peak_gb": 0.4 + trained / 4e6, "rows_per_second": draw.uniform(40, 4000),
    }  # fmt: skip
    places = [x / 10 + 0.05 for x in range(10)]
    bins = [[x, min(1, max(0, x - 0.2 * pull + draw.gauss(0, 0.02))), round(900 * x * x)] for x in places]
    return {
        "seed": seed, "metrics": metrics, "recall": recall,
        "shares": dict(zip(names, shares, strict=True)), "reliability": bins,
    }  # fmt: skip


def _compare(results, draw):
    by_name = {arm["name"]: arm for arm in results["arms"]}
    for arm in results["arms"]:
        for name in results["reference_arms"]:
            if name in by_name and name != arm["name"] and len(results["seeds"]) > 1:
                arm["against"][name] = {
                    metric: _difference(arm["mean"][metric], by_name[name]["mean"][metric])
                    for metric in METRICS
                    if arm["mean"][metric] is not None and by_name[name]["mean"][metric] is not None
                }


def _difference(own, other):
    far = own - other
    p = 0.0004 if abs(far) > 0.05 else 0.3
    return {"difference": far, "interval": [far - 0.03, far + 0.03], "p": p / 4, "p_corrected": p}


def _examples(draw, results):
    topics, shown = results["topics"], [arm["name"] for arm in results["arms"]]
    by_name = {arm["name"] for arm in results["arms"]}
    made = []
    for place, text in enumerate(HOSTILE):
        topic = topics["names"][place * 2]
        answers = {
            name: {
                "topic": draw.choice([topic, topics["names"][0], None]),
                "confidence": draw.random(),
                "output": "Farming desk: <i>Melnyk</i> reaps 503 bushels in Denver, growers say",
            }
            for name in shown
            if name in by_name
        }
        made.append(
            {
                "id": str(place), "text": text, "true_topic": topic, "band": topics["bands"][place * 2],
                "target": "Melnyk reaps 530 bushels" if place else None, "arms": answers,
            }
        )  # fmt: skip
    return made


@pytest.fixture(scope="session")
def fake_results():
    """Makes results: `topics` many, of `seeds`, all arms or those named."""
    return make_results


@pytest.fixture
def read_back():
    """Results as they are after results.json."""
    return lambda results: json.loads(json.dumps(results))


@pytest.fixture
def without_matplotlib(monkeypatch):
    """As if the extra `plots` were not installed."""
    for name in [name for name in sys.modules if name.endswith((".report.svg", ".report.files", ".report.axes"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
