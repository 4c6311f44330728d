"""Compares the decoder's training speed with transformers' Trainer and PEFT: same rows, LoRA and batch sizes.

    python benchmarks/decoder_training.py --decoder BASE --rows FILE --output runs/decoder_training

FILE has rows with targets. Both train for one pass over the same rows: LoRA on all linear layers, and the control
tokens' rows. The Trainer uses its defaults: it pads a batch to its longest row and takes the loss over all positions.
Steps alternate and are measured in processor seconds, so that other load hardly matters (set OMP_NUM_THREADS=1). Memory
is the peak of a separate process for each, minus its memory before the first step.
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from peft.tuners.trainable_tokens.layer import TrainableTokensLayer
from transformers import Trainer, TrainerCallback, TrainingArguments

from unskew.common import write_text
from unskew.corpus import Topics, load_usable
from unskew.decoder import DecoderSettings
from unskew.decoder.adaptation import adapt
from unskew.decoder.base import pad_id_of
from unskew.decoder.data import DecoderData, Rows
from unskew.decoder.module import DecoderModule
from unskew.decoder.preparation import Prepared, read_base
from unskew.decoder.sequences import plain
from unskew.decoder.target_logits import shared_tokens
from unskew.decoder.token_rows import RowsBeside
from unskew.training import PhaseSettings, RunOptions, run

RATE = 5e-4
SIDES = ("unskew", "trainer")
Made = tuple[Prepared, Any, Rows]  # the base, its trained parameters, and the rows


def prepared(chosen: argparse.Namespace) -> Made:
    """The model and rows to train on; with `--side` the longest rows, two batches of them."""
    records, _ = load_usable(chosen.rows)
    random.Random(0).shuffle(records)
    records = [record for record in records if record.target]
    if chosen.side:
        records.sort(key=lambda record: -len(record.text))
    records = records[: 2 * chosen.batch if chosen.side else chosen.count]
    topics = Topics.from_labels(str(record.topic) for record in records)
    settings = DecoderSettings(base=chosen.decoder, max_tokens=chosen.max_tokens, text_swap=0.0).resolved()
    parts = read_base(chosen.decoder, topics, settings)
    rows = Rows.from_records(records, parts.sequencer, topics, settings.max_target_tokens)
    return parts, adapt(parts.model, parts.control, settings), rows


def train_here(made: Made, chosen: argparse.Namespace, stepped: Callable[[], None]) -> None:
    """Train a phase as `fit` does."""
    parts, model, rows = made

    class Steps(Callback):
        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            stepped()

    phase = PhaseSettings(epochs=1, learning_rate=RATE)
    pad = pad_id_of(parts.tokenizer)
    shared = shared_tokens(plain(model), parts.sequencer.prefix, pad)
    module = DecoderModule(model, phase, parts.control.topic_ids, shared=shared)
    data = DecoderData(rows, None, pad_id=pad, tokens_per_batch=10**9, seed=0, max_rows=chosen.batch)
    trainer = {"accelerator": "cpu", "devices": 1, "callbacks": [Steps()], "precision": chosen.precision}
    run(module, data, RunOptions(chosen.output / "work" / str(time.time_ns()), "here", 1, 0, trainer=trainer))


def train_there(made: Made, chosen: argparse.Namespace, stepped: Callable[[], None]) -> None:
    """Train in the Trainer's loop, with PEFT's own layers."""
    parts, model, rows = made

    class Steps(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            stepped()

    for layer in model.modules():
        if isinstance(layer, RowsBeside):
            layer.__class__ = TrainableTokensLayer  # pyright: ignore[reportAttributeAccessIssue]
    pad = pad_id_of(parts.tokenizer)

    def collate(examples: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(example["ids"]) for example in examples)
        padded = {"input_ids": pad, "attention_mask": 0, "labels": -100}
        batch: dict[str, list[list[int]]] = {name: [] for name in padded}
        for example in examples:
            ids, written = example["ids"], example["written"][0]
            labels = [-100] * (len(ids) - written) + ids[-written:]
            for name, own in (("input_ids", ids), ("attention_mask", [1] * len(ids)), ("labels", labels)):
                batch[name].append(own + [padded[name]] * (longest - len(ids)))
        return {name: torch.tensor(values) for name, values in batch.items()}

    examples = [
        {"ids": ids.tolist(), "written": [int(written)]} for ids, written in zip(rows.tokens, rows.written, strict=True)
    ]
    options = TrainingArguments(
        output_dir=str(chosen.output / "work" / "trainer"),
        per_device_train_batch_size=chosen.batch,
        num_train_epochs=1,
        learning_rate=RATE,
        bf16=chosen.precision == "bf16-mixed",
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    Trainer(model, options, data_collator=collate, train_dataset=examples, callbacks=[Steps()]).train()  # pyright: ignore[reportArgumentType]


TRAIN = {"unskew": train_here, "trainer": train_there}


def in_turn(chosen: argparse.Namespace) -> dict[str, list[float]]:
    """Processor seconds of each step of both sides, which take turns."""
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    turns = {side: threading.Semaphore(0) for side in SIDES}
    made = {side: prepared(chosen) for side in SIDES}

    def train(side: str, other: str) -> None:
        begun = [0.0]

        def stepped() -> None:
            seconds[side].append(time.thread_time() - begun[0])
            turns[other].release()
            turns[side].acquire()
            begun[0] = time.thread_time()

        turns[side].acquire()
        begun[0] = time.thread_time()
        TRAIN[side](made[side], chosen, stepped)
        turns[other].release()

    threads = [threading.Thread(target=train, args=(side, other)) for side, other in (SIDES, SIDES[::-1])]
    for thread in threads:
        thread.start()
    turns[SIDES[0]].release()
    for thread in threads:
        thread.join()
    return seconds


def peak_beyond_start(chosen: argparse.Namespace) -> float:
    """Peak memory of the chosen side in GB, minus the memory before the first step."""
    made = prepared(chosen)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    TRAIN[chosen.side](made, chosen, lambda: None)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / 1e9


def compared(chosen: argparse.Namespace) -> dict[str, Any]:
    """The figures of each side and their comparison."""
    seconds = in_turn(chosen)
    _, _, rows = prepared(chosen)
    tokens = int(rows.lengths.sum())
    # The first step has extra costs, and batches differ in length, so a step counts by its share of all tokens.
    later = {side: statistics.mean(own[1:]) * len(own) for side, own in seconds.items()}
    print(later, tokens, flush=True)
    ratios = [there / here for here, there in zip(seconds["unskew"][1:], seconds["trainer"][1:], strict=True)]
    about = {"rows": chosen.rows.parent.name, "count": len(rows), "batch": chosen.batch, "precision": chosen.precision}
    found: dict[str, Any] = {**about, "tokens_a_row": tokens / len(rows), "target_tokens": float(rows.written.mean())}
    for side in SIDES:
        command = [sys.executable, __file__, *sys.argv[1:], "--side", side]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[side] = {
            "tokens_a_second": tokens / later[side],
            "rows_a_second": len(rows) / later[side],
            "peak_gb": float(done.stdout.strip().splitlines()[-1]),
        }
    return {**found, "times_as_fast": later["trainer"] / later["unskew"], "median_ratio": statistics.median(ratios)}


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decoder", required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=96, help="rows")
    parser.add_argument("--batch", type=int, default=8, help="rows in a batch")
    parser.add_argument("--max_tokens", type=int, default=256)
    parser.add_argument("--precision", default="32-true", choices=["32-true", "bf16-mixed"])
    parser.add_argument("--side", choices=SIDES)
    chosen = parser.parse_args()
    if chosen.side:
        print(peak_beyond_start(chosen))
        return
    found = compared(chosen)
    name = f"{found['rows']}~{chosen.batch}~{chosen.max_tokens}~{chosen.precision}.json"
    write_text(chosen.output / name, json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
