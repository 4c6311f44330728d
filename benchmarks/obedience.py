"""Does a decoder follow its topic where the text says another? Each way to make it listen, alone and together.

    python benchmarks/obedience.py --data FOLDER --output runs/obedience [--decoder BASE]

FOLDER holds train.jsonl, test.jsonl and noisy.jsonl, with targets (SNIPS-LT: slot frames). Without `--decoder` the base
is made first: a small one that has learnt from the noisy rows to write their targets, without any topic, so that it
answers from the text alone, as a good pretrained one does. Every run is a file of OUTPUT/runs, named after its options,
and the same command goes on where it stopped; the table is made of all files there, with a row for each set of options.
Outputs are judged on test rows, each topic as often.
"""

import argparse
import json
import logging
import math
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from unskew.common import file_fingerprint, fingerprint, write_text
from unskew.corpus import Columns, Record, Topics, load_usable
from unskew.decoder import (
    DecoderSettings,
    GenerationSettings,
    ObedienceTrial,
    TopicDecoder,
    fit_decoder,
    judge_obedience,
    judge_of_records,
    log_probability_gap,
)
from unskew.evaluation import score_texts
from unskew.training import PhaseSettings, ScratchSettings, base_contents

TRAINER: dict[str, Any] = {"accelerator": "cpu", "devices": 1}
RATE = 5e-4  # of the adapter and, unless an arm says otherwise, of the control tokens' rows
ROWS = PhaseSettings(epochs=1, max_steps=60)
SWAPS = {"text_swap": 0.5, "topic_rate": 1e-2}
ARMS: dict[str, dict[str, Any]] = {
    "no text swapped": {},
    "rate of the rows": {"topic_rate": 1e-2},
    "rows first": {"rows_first": ROWS},
    "name beside the token": {"condition": "both"},
    "topic dropout": {"topic_dropout": 0.15},
    "half of the rows twice": {"text_swap": 0.5},
    "half of the rows twice, rate": SWAPS,
    "half of the rows twice, rate, dropout": {**SWAPS, "topic_dropout": 0.1},
    "half of the rows twice, rate, name": {**SWAPS, "condition": "both"},
    "all rows twice, rate": {"text_swap": 1.0, "topic_rate": 1e-2},
    "all rows twice, rate, name": {"text_swap": 1.0, "topic_rate": 1e-2, "condition": "both"},
    "a quarter of the rows twice, rate": {"text_swap": 0.25, "topic_rate": 1e-2},  # the default of a pretrained base
}
SHOWN = {
    "right": "follows right",
    "wrong": "follows wrong",
    "gap": "gap (nats)",
    "exact": "equal to the target",
    "slot_f1": "slot F1",
    "rougeL": "ROUGE-L",
    "seconds": "seconds",
}


def read(path: Path) -> list[Record]:
    """The usable rows of a file with a target; none where there is no file."""
    return load_usable(path, Columns(), needs=("text", "topic", "target"))[0] if path.exists() else []


def make_base(noisy: list[Record], topics: Topics, folder: Path) -> str:
    """A small model that writes targets from texts and has met no topic."""
    place = folder / "base"
    if not place.exists():
        silent = [replace(record, topic=None) for record in noisy]
        settings = DecoderSettings(
            scratch=ScratchSettings(layers=2, width=128, heads=4, vocabulary=4000),
            noisy=PhaseSettings(epochs=2, learning_rate=5e-3),
            clean=PhaseSettings(epochs=1, learning_rate=1e-9),
            max_tokens=64,
            tokens_per_batch=2048,
            adaptation="full",
            trainer=TRAINER,
        )
        known = [replace(record, topic=topics.names[0]) for record in noisy[:32]]
        fit_decoder(known, known, silent, topics, settings, folder / "work").save_pretrained(place)
    return str(place)


def settings_of(arm: str, base: str, chosen: argparse.Namespace) -> DecoderSettings:
    """The arm's decoder."""
    return DecoderSettings(
        base=base,
        prompt=chosen.prompt,
        clean=PhaseSettings(epochs=chosen.epochs, learning_rate=chosen.rate, max_steps=chosen.steps),
        max_tokens=chosen.max_tokens,
        tokens_per_batch=chosen.tokens,
        trainer=TRAINER | ({"precision": "bf16-mixed"} if chosen.bf16 else {}),
        **{"text_swap": 0.0, "topic_rate": chosen.rate, **ARMS[arm]},
    )


def measure(
    decoder: TopicDecoder, trial: ObedienceTrial, judge: Any, scales: Sequence[float]
) -> list[dict[str, float]]:
    """By guidance: obedience, and how near outputs under right topics are to their targets."""
    gap, found = log_probability_gap(decoder, trial), []
    for scale in scales:
        outputs = trial.write(decoder, GenerationSettings(guidance=scale))
        obedience = asdict(judge_obedience(trial, outputs, judge, gap))
        found.append({**obedience, **score_texts(outputs[: len(trial)], trial.targets), "guidance": scale})
    return found


def options_of(arm: str, chosen: argparse.Namespace, *contents: str | None) -> str:
    """12 hex digits over all that a run depends on, but for its seed; `contents` are those of its base and its rows."""
    places = ("data", "output", "decoder", "arms", "seeds")
    given = {name: value for name, value in vars(chosen).items() if name not in places}
    return fingerprint(given, arm, ARMS[arm], contents)[:12]


def run(chosen: argparse.Namespace) -> None:
    """Fit and measure what has no file yet."""
    files = [chosen.data / f"{name}.jsonl" for name in ("train", "test", "noisy")]
    train, test, noisy = map(read, files)
    topics = Topics.from_labels(str(record.topic) for record in train)
    random.Random(0).shuffle(train)
    held, kept = train[:100], train[100 : 100 + chosen.rows]
    base = chosen.decoder or make_base(noisy, topics, chosen.output)
    contents = base_contents(base) or base, file_fingerprint(file for file in files if file.exists())
    judge = judge_of_records(train)
    trial = ObedienceTrial.sample(test, sorted({str(record.topic) for record in kept}), chosen.texts, chosen.wrong)
    for seed in map(int, chosen.seeds.split(",")):
        for number in map(int, chosen.arms.split(",")) if chosen.arms else range(len(ARMS)):
            arm = list(ARMS)[number]
            options = options_of(arm, chosen, *contents)
            path = chosen.output / "runs" / f"{Path(base).name}~{number}~{seed}~{options}.json"
            if path.exists():
                continue
            settings, begun = settings_of(arm, base, chosen), time.monotonic()
            decoder = fit_decoder(kept, held[: chosen.held], None, topics, settings, chosen.output / "work", seed)
            seconds = time.monotonic() - begun
            measured = measure(decoder, trial, judge, chosen.guidance if decoder.unguided else [1.0])
            about = {"arm": arm, "seed": seed, "base": Path(base).name, "rows": chosen.rows, "seconds": seconds}
            about |= {"epochs": chosen.epochs, "steps": chosen.steps, "options": options}
            write_text(path, json.dumps([{**one, **about} for one in measured]))
            print(arm, seed, measured, flush=True)


def table(folder: Path) -> str:
    """Markdown: a row for each arm, guidance and set of options, means over seeds."""
    runs = [one for path in sorted(folder.glob("*.json")) for one in json.loads(path.read_text("utf-8"))]
    runs = [one for one in runs if "options" in one]  # earlier ones do not say what they were made with
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for one in runs:
        trained = (one["base"], one["rows"], one["epochs"], one["steps"] or math.inf, list(ARMS).index(one["arm"]))
        groups.setdefault((*trained, one["options"], one["guidance"]), []).append(one)
    shown = {name: title for name, title in SHOWN.items() if any(name in one for one in runs)}
    lines = [
        "| base | rows | epochs | steps at most | arm | guidance | seeds | " + " | ".join(shown.values()) + " |",
        "|---" * (7 + len(shown)) + "|",
    ]
    for (base, rows, epochs, steps, number, _, guidance), own in sorted(groups.items()):
        figures = [sum(one[name] for one in own) / len(own) for name in shown]
        cells = " | ".join(
            f"{value:.0f}" if name == "seconds" else f"{value:.3f}" for name, value in zip(shown, figures, strict=True)
        )
        most = "all" if steps == math.inf else steps
        arm = list(ARMS)[number]
        lines.append(f"| {base} | {rows} | {epochs} | {most} | {arm} | {guidance:g} | {len(own)} | {cells} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what has not been run, then make the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--decoder")
    parser.add_argument("--arms", default="", help="their numbers, in the order to run them, as 8,0; all unless given")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--held", type=int, default=40, help="rows that the loss is watched on")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--steps", type=int, default=None, help="at most; all of the epochs unless given")
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--tokens", type=int, default=1000, help="padded tokens in a batch")
    parser.add_argument("--texts", type=int, default=105, help="test rows")
    parser.add_argument("--wrong", type=int, default=3, help="wrong topics that each is also written under")
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 1.5, 2.0, 3.0])
    parser.add_argument("--bf16", action="store_true", help="train in bfloat16")
    parser.add_argument("--prompt", default="auto")
    parser.add_argument("--max_tokens", type=int, default=96)
    chosen = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("unskew").setLevel(logging.INFO)
    run(chosen)
    write_text(chosen.output / "table.md", table(chosen.output / "runs"))
    print(table(chosen.output / "runs"))


if __name__ == "__main__":
    main()
