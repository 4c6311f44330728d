"""Recommends what to do before a fit, and which fit. Knows what was found; measures nothing.

Each rule gives its reason with figures. Thresholds of shares are rules of thumb; the threshold of accuracy is chance.
"""

import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any

from ..decoder import DecoderSettings
from ..encoder import EncoderSettings
from ..pipeline import DataSettings
from ..training import plain_arguments
from .results import Advice, Inspection
from .spelling import shown_name, spelt_alike, with_shown_names

MANY_SUSPECTS = 0.01
MANY_REPEATS = 0.02
MANY_CUT = 0.05
LOW_RIGHT = 0.5


def advise(found: Inspection, encoder: EncoderSettings, decoder: DecoderSettings | None) -> list[Advice]:
    """Recommendations, the most urgent first."""
    rules: tuple[Callable[[Inspection], Advice | None], ...] = (
        _few_rows_a_topic,
        _spellings,
        _suspects,
        _two_topics,
        _across,
        _repeats,
        _skew,
        _noisy,
        lambda its: _pairs(with_shown_names(its)),
        lambda its: _cut(its, "encoder.max_tokens"),
    )
    advice = [one for rule in rules if (one := rule(found)) is not None]
    if encoder.base is None:
        why = "a probe on a pretrained sentence encoder names most topics better than a small model from scratch"
        advice.append(Advice(what="give --encoder.base, a sentence encoder of the texts' language", why=why))
    if decoder is not None:
        advice += _targets(found)
    return advice


def recommended(
    data: DataSettings, suspects: str, found: Inspection, encoder: EncoderSettings, decoder: DecoderSettings | None
) -> str:
    """The command line of the fit: the settings given, and what was found to help.

    Objects in a `trainer`, such as callbacks, have no form there and are left out.

    Args:
        data: Sets of records, as inspected.
        suspects: File of the suspects.
        found: Findings.
        encoder: Settings of stage 1.
        decoder: Settings of stage 2; None for a fit of topics alone.
    """
    chosen = replace(
        data,
        noisy=data.noisy if found.noisy is not None and found.noisy.rows else None,
        corrections=data.corrections or (suspects if found.suspects else None),
        merge_spellings=data.merge_spellings or bool(spelt_alike(found)),
    )
    parts = ["unskew", "fit", *_options("data", chosen, DataSettings("")), *_stage("encoder", encoder)]
    parts += ["--decoder", "null"] if decoder is None or not found.targets.rows else _stage("decoder", decoder)
    return shlex.join([*parts, "--output", "runs/first"])


def _stage(name: str, settings: EncoderSettings | DecoderSettings) -> list[str]:
    return [*_options(name, replace(settings, trainer=plain_arguments(settings.trainer)), type(settings)())]


def _options(name: str, given: Any, usual: Any) -> Iterator[str]:
    """The fields of settings that differ from the usual ones, as options with dotted names."""
    for own in fields(given):
        option, value, default = f"{name}.{own.name}", getattr(given, own.name), getattr(usual, own.name)
        if is_dataclass(value) and is_dataclass(default):
            yield from _options(option, value, default)
        elif value != default:
            yield from (f"--{option}", _as_option(value))


def _as_option(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(asdict(value) if is_dataclass(value) and not isinstance(value, type) else value)


def _few_rows_a_topic(found: Inspection) -> Advice | None:
    if len(found.topics) <= found.rows / 3:
        return None
    why = f"{len(found.topics):,} topics in {found.rows:,} rows: a topic with one or two rows can hardly be learnt"
    return Advice(what="check the column of topics, which looks like ids or free text", why=why)


def _spellings(found: Inspection) -> Advice | None:
    alike = spelt_alike(found)
    if not alike:
        return None
    example = " and ".join(map(shown_name, alike[0]))
    why = f"{sum(map(len, alike))} topics would be {len(alike)}: they differ only in case, blanks or Unicode form, as "
    return Advice(what="give --data.merge_spellings true, or rename these topics", why=why + example)


def _suspects(found: Inspection) -> Advice | None:
    doubted = sum(topic.doubted for topic in found.topics)
    if doubted < max(1, MANY_SUSPECTS * found.rows):
        return None
    why = f"{doubted:,} labels ({doubted / found.rows:.1%}) are doubted; a rare topic suffers from a few wrong ones"
    return Advice(what="correct topics in suspects.jsonl, then give it as --data.corrections", why=why)


def _two_topics(found: Inspection) -> Advice | None:
    if not found.repeats.two_topics:
        return None
    why = f"{found.repeats.two_topics:,} rows have nearly the same text as another row, but another topic"
    return Advice(what="decide for one topic of each such text, or merge the topics", why=why)


def _across(found: Inspection) -> Advice | None:
    leaks = found.repeats.validation
    if not leaks:
        return None
    why = f"{leaks:,} of its {found.validation_rows:,} rows have exactly or nearly the text of a training row"
    return Advice(what="remove rows that repeat training rows from the validation set", why=why)


def _repeats(found: Inspection) -> Advice | None:
    rows = found.repeats.exact + found.repeats.near
    if rows < MANY_REPEATS * found.rows:
        return None
    why = f"{rows:,} of {found.rows:,} rows repeat an earlier one: they count twice, and held-out figures look too good"
    return Advice(what="remove rows that repeat others", why=why)


def _skew(found: Inspection) -> Advice | None:
    few = found.bands["few"]
    if not few:
        return None
    why = f"{few} of {len(found.topics)} topics have under 20 rows ({found.imbalance:,.0f} : 1 at most)"
    return Advice(what="label more rows of the rare topics, or write some with `unskew synthesise`", why=why)


def _noisy(found: Inspection) -> Advice | None:
    noisy = found.noisy
    if noisy is None:
        return None
    if not noisy.rows:
        return Advice(
            what="leave the noisy set out, or rename its topics", why="none of its topics is in the clean set"
        )
    if noisy.right is not None and noisy.right < LOW_RIGHT:
        return Advice(what="leave the noisy set out", why=f"only about {noisy.right:.0%} of its topics are right")
    if noisy.nats is not None:
        return Advice(
            what="give the noisy set", why=f"with it a probe is better on held-out rows ({noisy.nats:+.3f} nats)"
        )
    return Advice(
        what="expect little from the noisy set for topics", why="a probe with it is no better on held-out rows"
    )


def _pairs(found: Inspection) -> Advice | None:
    if not found.pairs or found.pairs[0].share < 0.2:
        return None
    pair = found.pairs[0]
    why = (
        f"{pair.rows:,} rows of {pair.topics[0]} and {pair.topics[1]} are answered as the other, the most of all pairs"
    )
    return Advice(what="check whether people can tell these two topics apart; if not, merge them", why=why)


def _cut(found: Inspection, option: str) -> Advice | None:
    lengths = found.lengths
    if lengths.cut < MANY_CUT * found.rows:
        return None
    why = f"{lengths.cut:,} texts have more than {lengths.limit} tokens and are cut (95% have at most {lengths.p95:,})"
    return Advice(
        what=f"raise --{option} as far as the base allows, if the end of a text matters for its topic", why=why
    )


def _targets(found: Inspection) -> list[Advice]:
    targets = found.targets
    if not targets.rows:
        return [Advice(what="give --decoder null", why="no row has a target, so only topics can be fitted")]
    advice = []
    if targets.repeated > targets.rows / 2:
        why = f"{targets.repeated:,} of {targets.rows:,} rows share theirs with others ({targets.distinct:,} distinct)"
        advice.append(
            Advice(what="consider a table of answers instead of a decoder, because the targets repeat", why=why)
        )
    if targets.lengths is not None and targets.lengths.cut > MANY_CUT * targets.rows:
        why = f"{targets.lengths.cut:,} targets have more than {targets.lengths.limit} tokens"
        advice.append(Advice(what="raise --decoder.max_target_tokens", why=why))
    return advice
