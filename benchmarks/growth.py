"""Measures how the commands grow: time and memory by number of topics, of rows, of workers, and by length of the texts.

    OMP_NUM_THREADS=1 python benchmarks/growth.py --output growth.json --picture benchmarks/results/growth.png

Every point is a command as a user gives it, in its own process: seconds of processor time, start included, and peak
resident memory. Points are kept in OUTPUT once they are measured, so the same command continues after an interruption.

The models are tiny and random, so that a model's own cost does not hide what is around it. Texts are made of words of
which each topic has three. By topics, with ten rows each: `fit` (a probe, of up to a thousand topics: more take too
long; ten steps of each phase, calibration included), `predict` with outputs for a hundred texts, and `evaluate` of two
thousand rows, topics alone. By rows: `predict` of topics. By length: `predict` of as many tokens in all, topics alone
and with outputs of eight tokens. By Ray workers (0: without Ray): `predict` of topics for a hundred thousand rows, in
seconds by the clock, so the machine must be quiet; memory is that of the process that starts them.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from unskew.common import write_jsonl, write_text

TOKENS = 65_536  # in all texts of a length
WORDS = 12  # in a text, unless its length is what varies
LONGEST = 8192
MOST_PROBED = 1000  # topics
WITHOUT_DECODER = ("--decoder", "null")
STEPS = ("--encoder.recipe", "phases", "--encoder.head.max_steps", "10", "--encoder.clean.max_steps", "10")
AXES = {
    "topics": "10,100,1000,3000",
    "rows": "1000,10000,100000,1000000",
    "length": "32,128,512,2048,8192",
    "workers": "0,1,2",
}
TITLES = {"topics": "topics", "rows": "rows of a job", "length": "tokens of a text", "workers": "Ray workers"}

Point = dict[str, tuple[float, float]]  # by command: seconds, peak MB


def main() -> None:
    """Measure the points that are missing; print tables, keep the figures, draw the picture."""
    parser = ArgumentParser(description=__doc__)
    for axis, points in AXES.items():
        parser.add_argument(
            f"--{axis}", type=str, default=points, help=f"{TITLES[axis]}, as a,b; nothing leaves it out"
        )
    parser.add_argument("--output", type=str, required=True, help="JSON; points that it holds are kept")
    parser.add_argument("--picture", type=str, default=None)
    given = parser.parse_args()
    measured = {"topics": by_topics, "rows": by_rows, "length": by_length, "workers": by_workers}
    kept = Path(given.output)
    found: dict[str, dict[str, Point]] = json.loads(kept.read_text()) if kept.exists() else {}
    for axis, measure in measured.items():
        for point in filter(None, given[axis].split(",")):
            if point not in found.setdefault(axis, {}):
                with tempfile.TemporaryDirectory() as folder:
                    found[axis][point] = measure(int(point), Path(folder))
                write_text(kept, json.dumps(found, indent=1) + "\n")
        if found.get(axis):
            print(table(axis, found[axis]), flush=True)
    if given.picture is not None:
        draw(found, Path(given.picture))


def by_topics(topics: int, folder: Path) -> Point:
    """Fits, a job with outputs, and an evaluation."""
    make_bases(folder, topics)
    make_rows(folder / "train.jsonl", 10 * topics, topics)
    make_rows(folder / "test.jsonl", 2000, topics)
    make_rows(folder / "some.jsonl", 100, topics)
    probed = topics <= MOST_PROBED
    alone = fit(folder, "alone", *WITHOUT_DECODER, *(() if probed else (*STEPS, "--calibration", "none")))
    return {
        **({"fit, a probe": alone} if probed else {}),
        "fit, ten steps": fit(folder, "both", *STEPS, *with_decoder(folder)),
        "predict, 100 outputs": predict(folder, "both", "some"),
        "evaluate, 2,000 rows": evaluate(folder, "alone", "test"),
    }


def by_rows(rows: int, folder: Path) -> Point:
    """A job of topics alone."""
    make_bases(folder, 20)
    make_rows(folder / "train.jsonl", 400, 20)
    make_rows(folder / "in.jsonl", rows, 20)
    fit(folder, "alone", *WITHOUT_DECODER)
    return {"predict, topics": predict(folder, "alone", "in")}


def by_length(tokens: int, folder: Path) -> Point:
    """Jobs over as many tokens in all, of topics alone and with outputs."""
    make_bases(folder, 20)
    make_rows(folder / "train.jsonl", 400, 20)
    make_rows(folder / "in.jsonl", TOKENS // tokens, 20, tokens - 2)
    longest = ["--encoder.max_tokens", str(LONGEST)]
    fit(folder, "alone", *longest, *WITHOUT_DECODER)
    fit(folder, "both", *longest, *with_decoder(folder), "--decoder.max_tokens", str(LONGEST))
    return {"predict, topics": predict(folder, "alone", "in"), "predict, outputs": predict(folder, "both", "in")}


def by_workers(workers: int, folder: Path) -> Point:
    """A job of topics alone, by the clock."""
    make_bases(folder, 20)
    make_rows(folder / "train.jsonl", 400, 20)
    make_rows(folder / "in.jsonl", 100_000, 20)
    fit(folder, "alone", *WITHOUT_DECODER)
    pool = ["--executor", "ray", "--workers", str(workers)] if workers else []
    start = time.monotonic()
    _, peak = predict(folder, "alone", "in", *pool)
    return {"predict, 100,000 rows": (time.monotonic() - start, peak)}


def with_decoder(folder: Path) -> list[str]:
    """Options of a fit with a decoder."""
    steps = ["--decoder.clean.max_steps", "10", "--decoder.max_target_tokens", "8", "--decoder.prompt", "plain"]
    return ["--decoder.base", str(folder / "decoder"), *steps]


def fit(folder: Path, bundle: str, *options: str) -> tuple[float, float]:
    """The cost of a fit on the folder's training rows, by default of a probe."""
    data = ["--data.train", str(folder / "train.jsonl"), "--encoder.base", str(folder / "encoder")]
    return command(folder, "fit", *data, "--encoder.recipe", "probe", *options, "--output", str(folder / bundle))


def predict(folder: Path, bundle: str, rows: str, *options: str) -> tuple[float, float]:
    """The cost of a job."""
    output = str(folder / f"{bundle}-{rows}.jsonl")
    return command(folder, "predict", *reading(folder, bundle, rows), "--output", output, *options)


def evaluate(folder: Path, bundle: str, rows: str) -> tuple[float, float]:
    """The cost of an evaluation with its report."""
    return command(folder, "evaluate", *reading(folder, bundle, rows), "--output", str(folder / f"{bundle}-evaluation"))


def reading(folder: Path, bundle: str, rows: str) -> list[str]:
    """Options of a command that applies a bundle to rows."""
    return ["--model", str(folder / bundle), "--input", str(folder / f"{rows}.jsonl"), "--device", "cpu"]


def command(folder: Path, *arguments: str) -> tuple[float, float]:
    """Processor seconds and peak megabytes of `unskew ARGUMENTS`; what it says is shown if it fails."""
    program, said = Path(sys.executable).with_name("unskew"), folder / "said.txt"
    with said.open("w") as out:
        process = subprocess.Popen([program, *arguments], stdout=out, stderr=out)
        _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"unskew {' '.join(arguments)}\n{said.read_text()}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def make_rows(path: Path, rows: int, topics: int, words: int = WORDS) -> None:
    """Rows with topics alike: a third of a text's words are its topic's, the others anybody's."""
    draw = random.Random(path.name)

    def word(topic: int) -> str:
        return f"t{topic}w{draw.randrange(3)}" if draw.random() < 1 / 3 else f"w{draw.randrange(1000)}"

    write_jsonl(
        path,
        (
            {
                "id": row,
                "text": " ".join(word(row % topics) for _ in range(words)),
                "topic": f"topic {row % topics}",
                "target": f"t{row % topics}w0 w{row % 1000}",
            }
            for row in range(rows)
        ),
    )


def make_bases(folder: Path, topics: int) -> None:
    """An encoder and a decoder of random weights, two layers of 64, with room for long texts."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "topic", *map(str, range(topics)), *(f"w{i}" for i in range(1000))]
    words += [f"t{topic}w{i}" for topic in range(topics) for i in range(3)]
    split = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, "[UNK]"))
    split.pre_tokenizer = pre_tokenizers.Whitespace()
    size: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    size |= {"intermediate_size": 128, "vocab_size": len(words), "max_position_embeddings": LONGEST + 256}
    LlamaForCausalLM(LlamaConfig(**size, bos_token_id=2, eos_token_id=3, pad_token_id=0)).save_pretrained(
        folder / "decoder"
    )
    PreTrainedTokenizerFast(
        tokenizer_object=split, pad_token="[PAD]", unk_token="[UNK]", eos_token="[SEP]"
    ).save_pretrained(folder / "decoder")
    split.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    BertModel(BertConfig(**size)).save_pretrained(folder / "encoder")
    PreTrainedTokenizerFast(
        tokenizer_object=split, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder / "encoder")


def table(axis: str, points: dict[str, Point]) -> str:
    """Markdown: seconds and megabytes of each command, a row a point."""
    commands = list(next(iter(points.values()), {}))
    lines = [
        f"| {TITLES[axis]} | " + " | ".join(f"{name}: s, MB" for name in commands) + " |",
        "|---" * (len(commands) + 1) + "|",
    ]
    for point, found in sorted(points.items(), key=lambda item: int(item[0])):
        cells = (f"{found[name][0]:,.0f}, {found[name][1]:,.0f}" if name in found else "" for name in commands)
        lines.append(f"| {int(point):,} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(found: dict[str, dict[str, Point]], path: Path) -> None:
    """Time above, memory below, for each axis."""
    from matplotlib.figure import Figure

    axes = [axis for axis in AXES if found.get(axis)]
    figure = Figure(figsize=(4 * len(axes), 6), layout="constrained")
    grid = figure.subplots(2, len(axes), squeeze=False)
    for column, axis in enumerate(axes):
        points = sorted(found[axis], key=int)
        seconds = "seconds by the clock" if axis == "workers" else "processor seconds"
        for row, title in enumerate((seconds, "peak memory, MB")):
            place = grid[row][column]
            for name in found[axis][points[0]]:
                known = [point for point in points if name in found[axis][point]]
                figures = [found[axis][point][name][row] for point in known]
                place.plot([int(point) for point in known], figures, "o-", label=name)
            place.set_xscale("linear" if axis == "workers" else "log")
            place.set_xticks([int(point) for point in points], [f"{int(point):,}" for point in points])
            place.minorticks_off()
            place.set_ylim(bottom=0)
            place.set_xlabel(TITLES[axis])
            place.set_title(title, fontsize=10)
        grid[0][column].legend(fontsize=7)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
