"""Makes results.json from finished runs. Knows runs, statistics and claims as plain values; trains nothing.

`assemble` returns all of it as plain JSON values. If a metric depends on test rows, the interval of its mean covers
seeds and rows (with one seed, rows only); otherwise it is the t interval over seeds. `p_corrected` is Holm's over all
arms, for each metric and reference arm; None with too few seeds.
"""

import os
import platform
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from statistics import mean
from typing import Any

import torch
import yaml
from torch import Tensor

from ..balance import shares_shifted
from ..corpus import Topics
from .claims import Arm, judge_claims, write_headline
from .data import TestRows
from .metrics import METRICS
from .settings import AblationSettings
from .statistics import Difference, Resampler, Runs, differences, holm, interval_of, seed_interval
from .stored import FORMAT

LONGEST_TEXT = 600  # characters of an example's text
MOST_EXAMPLES = 12
_PACKAGES = ("unskew", "torch", "transformers", "peft", "lightning", "scikit-learn")


def assemble(
    settings: AblationSettings,
    runs: Mapping[str, Runs],
    test: TestRows,
    rows: Mapping[str, int],
    command: str,
    targets_fit: float = 1.0,
) -> dict[str, Any]:
    """The results of all finished runs; arms without a run are left out.

    Args:
        settings: Settings of the ablation.
        runs: Runs by arm and seed, in the order of the arms.
        test: The test rows.
        rows: Sizes of the sets.
        command: The command that made the runs.
        targets_fit: Share of the test targets that read like their topic.
    """
    resampler = Resampler(test)
    drawn = {name: resampler.metrics(own) for name, own in runs.items()}
    references = [name for name in dict.fromkeys((settings.compared_with, settings.recommended or "")) if name in runs]
    against = {reference: _against(reference, runs, drawn, settings) for reference in references}
    arms = []
    for name, own in runs.items():
        arm = settings.chosen[name]
        found: dict[str, Any] = {"name": name, "title": arm.title, "group": arm.group, "note": arm.note}
        found["runs"] = [{"seed": seed, **_figures(run)} for seed, run in own.items()]
        found["mean"] = {metric: _mean(own, metric) for metric in METRICS}
        found["interval"] = {metric: _interval(own, metric, drawn[name]) for metric in METRICS}
        found["against"] = {reference: against[reference][name] for reference in references if name != reference}
        arms.append(found)
    return {
        "format": FORMAT,
        "title": settings.title,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "machine": machine(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "budget": _budget(settings, runs, rows),
        "config": yaml.safe_dump(_plain(settings), sort_keys=False, allow_unicode=True, width=120),
        "topics": _topics(test),
        "rows": {**rows, "test": len(test.records), "outputs": len(test.outputs)},
        "seeds": list(settings.run_seeds),
        "metrics": {name: {"title": t, "better": b, "group": g} for name, (t, b, g) in METRICS.items()},
        "arms": arms,
        "reference_arms": references,
        "primary": "macro_f1",
        "headline": write_headline(arms, settings),
        "terms": unequal_terms_said(settings, arms, rows),
        "claims": judge_claims(arms, settings, len(test.topics), _shifted(test), targets_fit),
        "examples": _examples(runs, test),
    }


def unequal_terms_said(settings: AblationSettings, arms: Sequence[Arm], rows: Mapping[str, int]) -> list[str]:
    """The data from which each arm of the headline has learnt its topics; empty if it is the same for all."""
    by_name = {arm["name"]: arm for arm in arms}
    found = {name: _learnt_from(settings, by_name[name], rows) for name in settings.contenders if name in by_name}
    if len({tuple(terms) for terms in found.values()}) < 2:
        return []
    return [f'"{by_name[name]["title"]}" learnt its topics from {", ".join(terms)}' for name, terms in found.items()]


def _learnt_from(settings: AblationSettings, arm: Arm, rows: Mapping[str, int]) -> list[str]:
    own = settings.chosen[arm["name"]]
    if own.decide == "bayes":
        return ["no data, because it is the exact posterior"]
    if own.decide == "zero_shot":
        return ["no data, only from the topics' names"]
    said = [f"{rows['train']:,} clean rows" + (" and synthetic ones" if own.synthetic else "")]
    noisy = {
        "encoder": not settings.encoder_of(own).noisy.is_left_out,
        "decoder": settings.decoder_of(own).noisy_topic_loss is not None,
    }
    if rows["noisy"] and noisy.get(own.decide, False):
        said.append(f"{rows['noisy']:,} noisy ones")
    if (tokens := arm["mean"].get("clean_tokens")) is not None:
        said.append(f"{tokens:,.0f} tokens of clean training")
    return said


def machine() -> str:
    """A description of the hardware, without the machine's name."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{cores} cores ({platform.machine()}, {sys.platform}), {gpu}"


def _shifted(test: TestRows) -> bool:
    counted = Counter(test.targets)
    return shares_shifted([counted[topic] for topic in range(len(test.topics))], test.topics.counts)


def _figures(run: Mapping[str, Any]) -> dict[str, Any]:
    return {name: run[name] for name in ("metrics", "recall", "shares", "reliability")}


def _values(own: Runs, metric: str) -> list[float]:
    found = (run["metrics"].get(metric) for run in own.values())  # an earlier version's run may lack a metric
    return [value for value in found if value is not None]


def _mean(own: Runs, metric: str) -> float | None:
    values = _values(own, metric)
    return mean(values) if values else None


def _interval(own: Runs, metric: str, drawn: Mapping[int, Mapping[str, Tensor]]) -> list[float] | None:
    values = _values(own, metric)
    if values and len(values) == len(own) and all(metric in resampled for resampled in drawn.values()):
        return list(interval_of(values, torch.stack([drawn[seed][metric] for seed in own])))
    found = seed_interval(values)
    return None if found is None else list(found)


def _against(
    reference: str, runs: Mapping[str, Runs], drawn: Mapping[str, Mapping[int, Any]], settings: AblationSettings
) -> dict[str, dict[str, dict[str, Any]]]:
    """Differences by arm and metric; p is corrected over the arms."""
    found: dict[str, dict[str, Difference]] = {}
    for name in runs:
        own: Runs = runs[name]
        values = drawn[name]
        if settings.chosen[name].decide == "bayes":  # it has one run, which counts for every seed
            own = dict.fromkeys(runs[reference], next(iter(own.values())))
            values = dict.fromkeys(runs[reference], next(iter(values.values())))
        if name != reference:
            found[name] = differences(own, runs[reference], values, drawn[reference])
    corrected = {metric: holm(_judged(found, metric)) for metric in METRICS}
    return {
        name: {
            metric: {**asdict(own[metric]), "interval": list(own[metric].interval)}
            | {"p_corrected": corrected[metric].get(name)}
            for metric in METRICS
            if metric in own
        }
        for name, own in found.items()
    }


def _judged(found: Mapping[str, Mapping[str, Difference]], metric: str) -> dict[str, float]:
    """The p of each arm that has enough seeds."""
    p_values = {name: own[metric].p for name, own in found.items() if metric in own}
    return {name: p for name, p in p_values.items() if p is not None}


def _topics(test: TestRows) -> dict[str, Any]:
    topics: Topics = test.topics
    shares = [test.targets.count(index) / len(test.targets) for index in range(len(topics))]
    return {
        "names": list(topics.names),
        "counts": list(topics.counts),
        "bands": list(topics.bands),
        "true_shares": shares,
    }


def _budget(settings: AblationSettings, runs: Mapping[str, Runs], rows: Mapping[str, int]) -> str:
    share = "" if settings.budget == 1 else f"{settings.budget:.0%} of the training rows; "
    said = f"{share}{settings.decoder.resolved().clean.epochs} epochs over {rows['train']:,} clean rows"
    baseline = runs.get(settings.compared_with)
    if baseline and (tokens := _mean(baseline, "clean_tokens")):
        said += f", {tokens:,.0f} tokens a seed in the baseline"
    equal = [name for name, arm in settings.chosen.items() if arm.same_start and name in runs]
    if equal:
        said += f"; the same first weights, rows, order and tokens, checked: {', '.join(equal)}"
    return said


def _plain(settings: AblationSettings) -> dict[str, Any]:
    stored = asdict(settings)
    for stage in ("encoder", "decoder"):
        del stored[stage]["trainer"]  # they describe this machine, and are not always plain data
    stored["seeds"] = list(settings.run_seeds)
    stored["arms"] = {
        name: {key: value for key, value in arm.items() if value not in ("", {}, False)}
        for name, arm in stored.pop("definitions").items()
        if name in settings.chosen
    }
    return stored


def _examples(runs: Mapping[str, Runs], test: TestRows) -> list[dict[str, Any]]:
    """Rows on which arms decide differently, rarest topics first, at most two for each topic."""
    first = {name: next(iter(own.values())) for name, own in runs.items()}
    deciding = [run["decisions"] for run in first.values() if run["metrics"]["accuracy"] is not None]
    differing = [i for i in test.outputs if len({decisions[i] for decisions in deciding}) > 1]
    rarest = sorted(differing, key=lambda i: (test.topics.counts[test.targets[i]], test.targets[i]))
    taken: dict[int, int] = {}
    chosen = []
    for i in rarest:
        taken[test.targets[i]] = taken.get(test.targets[i], 0) + 1
        if taken[test.targets[i]] <= 2:
            chosen.append(i)
    return [_example(i, first, test) for i in chosen[:MOST_EXAMPLES]]


def _example(row: int, runs: Mapping[str, Mapping[str, Any]], test: TestRows) -> dict[str, Any]:
    record, target = test.records[row], test.targets[row]
    place = test.outputs.index(row)
    said = {
        name: {
            "topic": test.topics.names[run["decisions"][row]],
            "confidence": run["confidence"][row] if run["confidence"] else None,
            "output": run["outputs"][place] if run["outputs"] else None,
        }
        for name, run in runs.items()
    }
    return {
        "id": record.id,
        "text": record.text[:LONGEST_TEXT],
        "true_topic": record.topic,
        "band": test.topics.bands[target],
        "target": record.target,
        "arms": said,
    }
