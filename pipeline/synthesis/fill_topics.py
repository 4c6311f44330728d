"""Synthetic rows for rare topics: written by a decoder, agreed to by the encoder, unlike every row there is.

Knows the bundle, the two stages' parts in this, and the files. The rows are for a person to read, and to strike,
before `unskew fit --data.synthetic` trains on them; those that were not kept are written too, with why.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...common import UserError, check_writable, refuse_existing, track, write_jsonl
from ...corpus import Columns, NearDuplicates
from ...decoder import DecoderSettings, GenerationSettings
from ...encoder import relabelled
from ..datasets import Sets, read_sets
from ..hybrid import HybridPipeline
from ..settings import DataSettings
from .filtering import Sifter
from .results import PROVENANCE, Synthesis, Tally
from .settings import DIVERSE, FilterSettings
from .text_generator import fit_writer, writer_settings

log = logging.getLogger("unskew")


def synthesise(
    model: str,
    data: DataSettings,
    output: str | Path,
    *,
    threshold: int = 20,
    per_topic: int | None = None,
    attempts: int = 5,
    filter: FilterSettings | None = None,
    generation: GenerationSettings = DIVERSE,
    max_text_tokens: int | None = None,
    decoder: DecoderSettings | None = None,
    device: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Synthesis:
    """Write rows for rare topics to `output`, and those that were not kept to OUTPUT.rejected.jsonl.

    Args:
        model: A bundle: a folder, or its id on the hub. Its encoder judges; its decoder's base learns to write.
        data: The sets the bundle was fitted on. The same validation rows are held out, with the same seed.
        output: The JSON lines to write; what was not kept goes to OUTPUT.rejected.jsonl.
        threshold: Topics with fewer clean training rows than this get new ones.
        per_topic: Rows to add to each such topic; as many as it lacks of the threshold unless given.
        attempts: How many times a topic is tried for the rows that it still lacks.
        filter: Which of the written texts are kept.
        generation: How texts are written; they are always sampled, with `seed`.
        max_text_tokens: Of a text; as many as the bundle's decoder reads unless given.
        decoder: How the writer is trained; as the bundle's decoder was unless given.
        device: cpu, cuda, cuda:1, ...; a GPU where there is one unless given.
        seed: Of everything random.
        overwrite: Replace what stands at output.

    Raises:
        UserError: If an option is out of range, no topic is rare, or `output` exists and must not be replaced.
    """
    filter = filter or FilterSettings()
    place = Path(output)
    rejected, work = (place.with_name(place.name + ending) for ending in (".rejected.jsonl", ".work"))
    for path in (place, rejected):
        refuse_existing(path, overwrite)
    _check(data, threshold, per_topic, attempts)
    pipeline = HybridPipeline.from_pretrained(model, device).aimed_at("uniform")
    check_writable(work)
    sets = read_sets(data, seed)
    result = Synthesis(_tallies(pipeline, sets, threshold, per_topic))
    if not result.tallies:
        raise UserError(f"every topic has {threshold} training rows or more; give a higher --threshold")
    settings = writer_settings(decoder or _decoder_settings(pipeline, model), max_text_tokens)
    options = replace(generation, sample=True, seed=seed)
    fill(result, pipeline, sets, settings, work, filter, options, attempts, Path(model).name)
    write_jsonl(place, (_named(row, data.columns) for row in result.kept))
    write_jsonl(rejected, (_named(row, data.columns) for row in result.rejected))
    return result


def _check(data: DataSettings, threshold: int, per_topic: int | None, attempts: int) -> None:
    problems = [
        f"{name} is {value}, must be positive"
        for name, value in (("threshold", threshold), ("per_topic", per_topic), ("attempts", attempts))
        if value is not None and value < 1
    ]
    if data.synthetic is not None:
        problems.append("data.synthetic is for fit: rows are written from real ones alone; leave it out here")
    taken = set(replace(data.columns, of=None).wanted()) & set(PROVENANCE)
    if taken:
        problems.append(f"the columns {', '.join(sorted(taken))} are those of the provenance; rename yours")
    if problems:
        raise UserError("synthesise: " + "; ".join(problems))


def fill(
    result: Synthesis,
    pipeline: HybridPipeline,
    sets: Sets,
    settings: DecoderSettings,
    folder: Path,
    filter: FilterSettings,
    options: GenerationSettings,
    attempts: int,
    name: str,
) -> None:
    """Write and sort the rows that `result` wants, with their outputs.

    Args:
        result: Says how many of which topic; takes the rows.
        pipeline: Judges, right for a uniform prior, and writes the outputs.
        sets: What the writer learns from, and what its texts must not be like.
        settings: Of the writer, from `writer_settings`.
        folder: Of its checkpoints.
        filter: Which texts are kept.
        options: How they are written, and the seed of all that is random.
        attempts: How many times a topic is tried.
        name: What the rows say that they come from.
    """
    duplicates = NearDuplicates(filter.similarity)
    noisy = relabelled(sets.noisy or (), pipeline.encoder, pipeline.decider)
    writer = fit_writer(sets.train, sets.validation, noisy, sets.topics, settings, folder, options.seed)
    writer.model.to(pipeline.encoder.model.device)  # pyright: ignore[reportArgumentType]
    for record in track([*sets.train, *sets.validation, *(sets.noisy or ())], "index the rows there are"):
        duplicates.add(record.id, record.text)
    Sifter(pipeline, writer, sets.train, duplicates, filter, options, name).fill(result, attempts)
    _add_targets(result, pipeline)


def _tallies(pipeline: HybridPipeline, sets: Sets, threshold: int, per_topic: int | None) -> dict[str, Tally]:
    if set(sets.topics.names) != set(pipeline.topics.names):
        raise UserError("the topics of data.train are not those of the bundle; give the set it was fitted on")
    return {
        topic: Tally(count, per_topic or threshold - count)
        for topic, count in zip(sets.topics.names, sets.topics.counts, strict=True)
        if count < threshold
    }


def _decoder_settings(pipeline: HybridPipeline, model: str) -> DecoderSettings:
    """What the bundle's decoder was fitted with; how it was trained on some machine is not stored."""
    stored = pipeline.description.get("settings", {}).get("decoder")
    if not stored:
        raise UserError(f"{model} was fitted without a decoder; give one with --decoder.base, or fit one")
    return replace(DecoderSettings.from_dict(stored), topic_loss=None, noisy_topic_loss=None)


def _add_targets(result: Synthesis, pipeline: HybridPipeline) -> None:
    """Give the rows kept the output that the bundle writes for them; without a decoder they have none."""
    if pipeline.decoder is None or not result.kept:
        return
    targets = pipeline.write([row["text"] for row in result.kept], [row["topic"] for row in result.kept])
    for row, target in zip(result.kept, targets, strict=True):
        row["target"] = target or None


def _named(row: dict[str, Any], columns: Columns) -> dict[str, Any]:
    """The row under the user's names of columns, so that it reads as the other sets do."""
    names = {"id": columns.id, "text": columns.text, "topic": columns.topic, "target": columns.target, "of": columns.of}
    return {names.get(key) or key: value for key, value in row.items()}
