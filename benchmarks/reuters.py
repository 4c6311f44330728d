"""Reuters-21578 R52 with real pretrained models: fits both stages and measures them on the test set.

python benchmarks/reuters.py --data FOLDER --encoder FOLDER --decoder FOLDER --output runs/reuters [--decoder_rows 400]

FOLDER of the data holds train.jsonl and test.jsonl (research use only, so not part of this repository).
Without `--decoder` only the topics are fitted and measured. `--decoder_rows` fits stage 2 on so many training rows, and
measures outputs on so many test rows, where there is no GPU to use all of them; topics are measured on all.
"""

import json
import logging
import random
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from unskew.cli.main import make_parser
from unskew.common import write_jsonl
from unskew.corpus import Columns, load_usable, overlapping
from unskew.decoder import fit_decoder
from unskew.evaluation import evaluate
from unskew.pipeline import FitSettings, HybridPipeline, fit, read_sets

# Articles are long and headlines short; the encoder is fitted as it is unless told otherwise.
OPTIONS = [
    "--decoder.max_tokens", "224", "--decoder.max_target_tokens", "32",
    "--decoder.noisy.epochs", "0", "--decoder.clean.epochs", "2",
]  # fmt: skip


def prepare(data: Path, place: Path) -> None:
    """Copy the sets without unusable rows, and without training texts that are in the test set."""
    sets = {name: load_usable(data / f"{name}.jsonl", Columns())[0] for name in ("train", "test")}
    leaks = {id(record) for record in overlapping(sets["train"], sets["test"])}
    sets["train"] = [record for record in sets["train"] if id(record) not in leaks]
    for name, records in sets.items():
        write_jsonl(place / f"{name}.jsonl", (record.to_row() for record in records))


def settings(place: Path, encoder: str) -> FitSettings:
    """The defaults of stage 1 over the prepared sets."""
    given = ["--data.train", str(place / "train.jsonl"), "--encoder.base", encoder, "--decoder", "null"]
    values = configured(given)
    return FitSettings(**{name: values[name] for name in FitSettings.__dataclass_fields__})


def configured(given: list[str]) -> dict[str, Any]:
    """All options of a fit, some of them given."""
    parser, _ = make_parser("fit")
    return vars(parser.instantiate(parser.parse_args(["--output", "unused", *given])))


def main() -> None:
    """Prepare, fit, measure; prints the figures and writes them to OUTPUT/reuters.json."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the two sets")
    parser.add_argument("--encoder", type=str, required=True, help="base of stage 1")
    parser.add_argument("--decoder", type=str | None, default=None, help="base of stage 2")
    parser.add_argument("--decoder_rows", type=int | None, default=None, help="rows of stage 2; all unless given")
    parser.add_argument("--output", type=Path, required=True, help="where bundles, sets and figures go")
    given = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    logging.getLogger("unskew").setLevel(logging.INFO)
    place = given.output
    prepare(given.data, place)
    chosen = settings(place, given.encoder)
    fitted = fit(chosen, place / "encoder", overwrite=True)
    test = str(place / "test.jsonl")
    found = evaluate(fitted, test, place / "topics", target_prior="adaptive", overwrite=True)
    views = {"adaptive": found.topics, **found.views}
    figures: dict[str, Any] = {f"topics, target prior {prior}": view for prior, view in views.items()}
    if given.decoder:
        figures["outputs"] = write_headlines(fitted, chosen, given)
    (place / "reuters.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


def write_headlines(fitted: HybridPipeline, chosen: FitSettings, given) -> dict[str, float]:  # noqa: ANN001
    """Fit stage 2 on (some of) the training rows and measure its headlines on (some of) the test rows."""
    sets = read_sets(chosen.data, chosen.seed)
    stage = configured(["--data.train", "unused", "--decoder.base", given.decoder, *OPTIONS])["decoder"]
    rows = given.decoder_rows or len(sets.train)
    draw = random.Random(0)
    train = draw.sample(sets.train, min(rows, len(sets.train)))
    validation = draw.sample(sets.validation, min(max(50, rows // 8), len(sets.validation)))
    decoder = fit_decoder(train, validation, None, sets.topics, stage, given.output / "decoder.work", chosen.seed)
    pipeline = HybridPipeline(fitted.encoder, decoder, fitted.corrector)
    records = [r for r in load_usable(given.output / "test.jsonl")[0] if r.target and r.target != r.text]
    part = given.output / "test-part.jsonl"
    chosen_rows = draw.sample(records, min(rows, len(records)))
    write_jsonl(part, (record.to_row() for record in chosen_rows))
    found = evaluate(
        pipeline, str(part), given.output / "headlines", train=str(given.output / "train.jsonl"), overwrite=True
    )
    return {"rows": found.rows, **found.outputs}


if __name__ == "__main__":
    main()
