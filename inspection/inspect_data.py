"""Inspects sets of records before a fit: reads them as a fit does, checks them, writes the results.

Knows the order of the checks and the files; the checks are in other modules.
"""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ..common import (
    check_seed,
    check_writable,
    output_folder,
    refuse_existing,
    replacing_folder,
    write_jsonl,
    write_text,
)
from ..corpus import BANDS, Record, StoredRecords, place_of
from ..decoder import DecoderSettings
from ..encoder import EncoderSettings
from ..pipeline import DataSettings, TrainingData, read_sets
from .advice import advise, recommended
from .costs import estimate_fit
from .page import render_inspection
from .probing import Probed, agreements, confusable, describe_noisy, doubted, expected, probe_rows, recalls
from .repeats import find_repeats, summed
from .results import MOST_COMPARED, Inspection, Suspect, TopicFacts
from .suspects import find_suspects
from .texts import describe_targets, read_tokens, scripts, text_lengths

log = logging.getLogger("unskew")

RESULT = "inspection.json"
WORST = 20  # suspects in inspection.json
UNUSABLE = 20


def inspect(
    data: DataSettings,
    output: str | Path,
    *,
    encoder: EncoderSettings | None = None,
    decoder: DecoderSettings | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Inspection:
    """Describe sets of records and what to expect of a fit; write inspection.json, .html and suspects.jsonl.

    With a base and without a validation set, the probe has the rows, folds, choices and figures that a fit of the
    recipes "probe" and "tuned" begins with.

    Args:
        data: The sets, as for `fit`.
        output: The folder to write.
        encoder: Settings of stage 1, as for `fit`; the probe uses the features of its base, or TF-IDF without one.
        decoder: Settings of stage 2, as for `fit`; None for a fit of topics alone.
        seed: Random seed of folds and split.
        overwrite: Whether `output` may be replaced.

    Raises:
        UserError: If an input cannot be used, or `output` exists and must not be replaced.
    """
    encoder = encoder or EncoderSettings()
    check_seed(seed)
    output = output_folder(output)
    refuse_existing(output, overwrite, RESULT)
    check_writable(output.parent)
    with TemporaryDirectory(prefix=f"{output.name}.rows-", dir=output.parent) as rows:  # of the noisy set, on disk
        sets = read_sets(data, seed, cache=Path(rows))
        log.info("inspect: a probe on %s", encoder.base or "TF-IDF")
        probed = probe_rows(sets, encoder, seed)
        log.info("inspect: repeated texts, lengths, targets")
        found, suspects = _answers(sets, probed, encoder, decoder)
    advice = advise(found, encoder, decoder)
    command = recommended(data, str(output / "suspects.jsonl"), found, encoder, decoder)
    found = found.model_copy(update={"advice": advice, "command": command})
    with replacing_folder(output) as place:
        write_text(place / RESULT, json.dumps(found.model_dump(), indent=2, ensure_ascii=False) + "\n")
        write_text(place / "inspection.html", render_inspection(found))
        write_jsonl(place / "suspects.jsonl", (suspect.model_dump() for suspect in suspects))
    return found


def _answers(
    sets: TrainingData, probed: Probed | None, encoder: EncoderSettings, decoder: DecoderSettings | None
) -> tuple[Inspection, list[Suspect]]:
    clean = sets.clean
    given = [] if sets.is_split else sets.validation
    repeats = find_repeats({"clean": clean, "validation": given, "noisy": (sets.noisy or [])[:MOST_COMPARED]})
    doubts = doubted(probed) if probed is not None else None
    suspects = find_suspects(clean, sets.topics, doubts, repeats)
    doubted_rows = doubts.rows() if doubts is not None else []
    lengths = text_lengths([record.text for record in clean], encoder)
    targets = describe_targets(clean, decoder)
    written = targets.lengths.median if targets.lengths is not None else 0
    counts = sets.topics.counts
    found = Inspection(
        rows=len(clean),
        validation_rows=len(given),
        unusable=len(sets.unusable),
        unusable_examples=[f"{place_of(row)}: {row.reason}" for row in sets.unusable[:UNUSABLE]],
        topics=_topics(sets, probed, [clean[row] for row in doubted_rows]),
        bands={name: sets.topics.bands.count(name) for name in BANDS},
        imbalance=max(counts) / max(1, min(counts)),
        repeats=summed(repeats, "clean"),
        suspects=len(suspects),
        worst_suspects=suspects[:WORST],
        pairs=confusable(probed, sets) if probed is not None else [],
        lengths=lengths,
        scripts=scripts([record.text for record in clean]),
        targets=targets,
        probe=expected(probed, sets, encoder) if probed is not None else None,
        noisy=describe_noisy(sets, probed),
        estimates=estimate_fit(
            encoder, decoder if targets.rows else None, len(clean), len(sets.noisy or ()), read_tokens(lengths), written
        ),
        advice=[],
        command="",
    )
    return found, suspects


def _topics(sets: TrainingData, probed: Probed | None, doubted_rows: Sequence[Record]) -> list[TopicFacts]:
    names = sets.topics.names
    found = recalls(probed) if probed is not None else [None] * len(names)
    doubts = Counter(record.topic for record in doubted_rows)
    assert sets.noisy is None or isinstance(sets.noisy, StoredRecords)
    noisy = sets.noisy.topic_counts if sets.noisy is not None else {}
    fitted = probed.fitted if probed is not None else None
    read = fitted.noisy if fitted is not None else ()
    asked = Counter(record.topic for record in read)
    agreed = Counter(record.topic for record, same in zip(read, agreements(read, fitted, sets), strict=True) if same)
    return [
        TopicFacts(
            topic=name,
            rows=int(count),
            share=share,
            band=band,
            recall=recall,
            doubted=doubts[name],
            noisy_rows=noisy.get(name, 0),
            noisy_agreement=agreed[name] / asked[name] if asked[name] else None,
        )
        for name, count, share, band, recall in zip(
            names, sets.topics.counts, sets.topics.prior, sets.topics.bands, found, strict=True
        )
    ]
