"""Synthetic rows for rare topics: written by a decoder, confirmed by the encoder, unlike all existing rows.

Knows the bundle, both stages and the files; trains nothing on the rows. A person should read and prune them before
`unskew fit --data.synthetic` trains on them. Rejected rows are written too, with the reasons.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...common import UserError, check_writable, output_file, refuse_existing, track, write_jsonl
from ...corpus import Columns, NearDuplicates
from ...decoder import DecoderSettings, check_base
from ...encoder import relabel_rows
from ..datasets import TrainingData, read_sets
from ..hybrid import HybridPipeline
from ..settings import DataSettings
from .filtering import SyntheticFilter
from .results import PROVENANCE, Synthesis, TopicCounts
from .settings import SynthesisSettings
from .text_generator import fit_text_generator, generator_settings

MOST_SHOWN = 3  # topics in a message
log = logging.getLogger("unskew")


def synthesise(
    model: str,
    data: DataSettings,
    output: str | Path,
    *,
    device: str | None = None,
    overwrite: bool = False,
    **options: Any,
) -> Synthesis:
    """Write rows for rare topics to `output`, and rejected rows to OUTPUT.rejected.jsonl.

    Args:
        model: Folder of a bundle, or its id on the hub. Its encoder judges the texts; its decoder's base learns to
            write them.
        data: Sets that the bundle was fitted on. With the same seed, the same validation rows are held out.
        output: File of JSON lines to write.
        device: Device, such as cpu, cuda or cuda:1; None takes a GPU if there is one.
        overwrite: Whether an existing output may be replaced.
        options: Options of `SynthesisSettings`.

    Raises:
        UserError: If an option is out of range, no topic is rare, or `output` exists and must not be replaced.
    """
    settings = SynthesisSettings(**options)
    place = output_file(output)
    rejected, work = (place.with_name(place.name + ending) for ending in (".rejected.jsonl", ".work"))
    for path in (place, rejected):
        refuse_existing(path, overwrite)
    _check(data)
    pipeline = HybridPipeline.from_pretrained(model, device).with_target_prior("uniform")
    check_writable(work)
    sets = read_sets(data, settings.seed, cache=work / "rows")
    log.info("%s", sets)
    _check_topics(pipeline, sets)
    result = Synthesis(_tallies(pipeline, sets, settings))
    if not result.tallies:
        raise UserError(f"every topic has {settings.threshold} training rows or more; give a higher --threshold")
    decoder = generator_settings(settings.decoder or _decoder_settings(pipeline, model), settings.max_text_tokens)
    check_base(decoder, sets.topics, work)
    fill(result, pipeline, sets, settings, decoder, work, Path(model).name)
    write_jsonl(place, (_named(row, data.columns) for row in result.kept))
    write_jsonl(rejected, (_named(row, data.columns) for row in result.rejected))
    return result


def _check(data: DataSettings) -> None:
    problems = []
    if data.synthetic is not None:
        problems.append(
            "data.synthetic is for fit; leave it out here, because new rows are written from real ones only"
        )
    taken = set(replace(data.columns, paraphrase_of=None).wanted()) & set(PROVENANCE)
    if taken:
        problems.append(f"the columns {', '.join(sorted(taken))} are reserved for the provenance of rows; rename yours")
    if problems:
        raise UserError("synthesise: " + "; ".join(problems))


def fill(
    result: Synthesis,
    pipeline: HybridPipeline,
    sets: TrainingData,
    settings: SynthesisSettings,
    decoder: DecoderSettings,
    folder: Path,
    name: str,
) -> None:
    """Write and filter the rows that `result` needs, with their outputs.

    Args:
        result: Wanted numbers of rows by topic; receives the rows.
        pipeline: System for a uniform prior, which judges the texts and writes the outputs.
        sets: Sets that the text generator learns from and that its texts must not repeat.
        settings: Settings of the synthesis.
        decoder: Settings of the text generator, from `generator_settings`.
        folder: Folder of its checkpoints.
        name: Name of the model in the rows.
    """
    duplicates = NearDuplicates(settings.filter.similarity)
    noisy = relabel_rows(sets.noisy or (), pipeline.encoder, pipeline.corrector)
    generator = fit_text_generator(sets.train, sets.validation, noisy, sets.topics, decoder, folder, settings.seed)
    generator.model.to(pipeline.encoder.model.device)  # pyright: ignore[reportArgumentType]
    for record in track([*sets.train, *sets.validation, *(sets.noisy or ())], "index the existing rows"):
        duplicates.add(record.id, record.text)
    options = replace(settings.generation, sample=True, seed=settings.seed)
    synthetic_filter = SyntheticFilter(pipeline, generator, sets.train, duplicates, settings.filter, options, name)
    synthetic_filter.fill(result, settings.attempts)
    _add_targets(result, pipeline)


def _check_topics(pipeline: HybridPipeline, sets: TrainingData) -> None:
    here, there = (dict.fromkeys(topics.names) for topics in (sets.topics, pipeline.topics))
    lists = ([name for name in here if name not in there], [name for name in there if name not in here])
    if not any(lists):
        return
    named = zip(("only data.train has ", "only the bundle has "), lists, strict=True)
    said = "; ".join(where + ", ".join(map(repr, names[:MOST_SHOWN])) for where, names in named if names)
    merged = pipeline.description.get("settings", {}).get("data", {}).get("merge_spellings")
    remedy = "give --data.merge_spellings true, as the fit had, and " if merged else "give "
    raise UserError(
        f"the topics of data.train differ from the bundle's: {said}; {remedy}the set that the bundle was fitted on"
    )


def _tallies(pipeline: HybridPipeline, sets: TrainingData, settings: SynthesisSettings) -> dict[str, TopicCounts]:
    return {
        topic: TopicCounts(count, settings.per_topic or settings.threshold - count)
        for topic, count in zip(sets.topics.names, map(int, sets.topics.counts), strict=True)
        if count < settings.threshold
    }


def _decoder_settings(pipeline: HybridPipeline, model: str) -> DecoderSettings:
    """The settings that the bundle's decoder was fitted with; its trainer arguments are not stored."""
    stored = pipeline.description.get("settings", {}).get("decoder")
    if not stored:
        raise UserError(f"{model} was fitted without a decoder; give --decoder.base, or fit a bundle with a decoder")
    return DecoderSettings.from_dict(stored)


def _add_targets(result: Synthesis, pipeline: HybridPipeline) -> None:
    """Give each kept row the bundle's output for it; without a decoder there is none."""
    if pipeline.decoder is None or not result.kept:
        return
    targets = pipeline.write([row["text"] for row in result.kept], [row["topic"] for row in result.kept])
    for row, target in zip(result.kept, targets, strict=True):
        row["target"] = target or None


def _named(row: dict[str, Any], columns: Columns) -> dict[str, Any]:
    """The row with the user's column names, so that it can be read like the other sets."""
    names = {
        "id": columns.id,
        "text": columns.text,
        "topic": columns.topic,
        "target": columns.target,
        "paraphrase_of": columns.paraphrase_of,
    }
    return {names.get(key) or key: value for key, value in row.items()}
