"""Measures the throughput of both stages: unskew against other ways to run the same models on the same rows.

python benchmarks/throughput.py --encoder FOLDER --decoder FOLDER --data FILE [--rows 64] [--threads 2]
python benchmarks/throughput.py --model BUNDLE --data FILE

Untrained bases get some topics: their outputs are useless, but their speed is not. Each arm (see `throughput_arms.py`)
runs in its own process, after another one that converts its models and tries sizes of batches. Rates are of all rows,
the median of `--repeats` runs after a first one; "one row" is the median of eight rows, one at a time. Loading is
without imports and conversion, from files in memory, of both stages in arms that have both. The limit is two operations
per parameter and token, at the measured rate of a large matrix product.

All arms write under the same topics after the same prompts. Their outputs are compared with those of an arm that the
table names: `model.generate`, or else `unskew float32`, or else the first one that writes. Both texts are stripped and
tokenised again by the decoder's tokenizer; where they differ, the table gives the first token that differs, counted
from 1: the median of these outputs, and the earliest.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser
from throughput_arms import ARMS
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from unskew.balance import Calibration, PosteriorCorrector, uniform_prior
from unskew.common import write_text
from unskew.corpus import Topics, load_usable
from unskew.decoder import ControlTokens, TopicDecoder
from unskew.decoder.base import load_model, load_tokenizer
from unskew.decoder.control import make_rows
from unskew.decoder.prompts import Prompt, protect_chat_tokens
from unskew.encoder import EncoderSettings, TopicEncoder
from unskew.encoder.base import make_base
from unskew.pipeline import HybridPipeline
from unskew.runtime import encode_user_text

TOPICS = ("business", "politics", "science", "sport")
STAGES = ("encoder", "decoder")


def from_bases(encoder: str, decoder: str, max_tokens: int) -> HybridPipeline:
    """A system of two untrained bases."""
    topics = Topics.from_labels(TOPICS)
    model, tokenizer = make_base(EncoderSettings(base=encoder, max_tokens=max_tokens), topics, [], 0)
    writer, words = load_model(decoder), load_tokenizer(decoder)
    prompt = Prompt.render("instruction", words)
    protect_chat_tokens(words, prompt)
    control = ControlTokens.add(words, topics.names)
    make_rows(writer, words, control, new=control.ids)
    uniform = tuple(uniform_prior(len(topics)).tolist())
    return HybridPipeline(
        TopicEncoder(model, tokenizer, max_tokens),
        TopicDecoder(writer, words, control, prompt, max_tokens),
        PosteriorCorrector(topics, uniform, Calibration(), uniform),
    )


def prepare(pipe: HybridPipeline, texts: list[str], asked: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write bundle and rows; texts are cut to what the decoder reads, so that every arm reads the same."""
    decoder = pipe.decoder
    if decoder is None:
        raise SystemExit("the bundle has no decoder")
    words, prompt = decoder.tokenizer, decoder.prompt
    room = decoder.max_tokens - sum(len(half) for half in prompt.encode(words))
    texts = [str(words.decode(ids)) for ids in encode_user_text(words, texts, room - 8)]
    topics = [pipe.topics.names[i] for i in pipe.probabilities(texts).argmax(dim=1).tolist()]
    marks = [words.decode(decoder._sequencer.topic_tokens(topic)) for topic in topics]
    ids = [
        [*row, *decoder._sequencer.topic_tokens(topic)]
        for row, topic in zip(decoder._sequencer.prompts(texts), topics, strict=True)
    ]
    prompts = [f"{prompt.before}{text}{prompt.after}{mark}" for text, mark in zip(texts, marks, strict=True)]
    lengths = {"start_tokens": len(decoder._sequencer.prefix), "encoder_tokens": pipe.encoder.max_tokens}
    rows = {"texts": texts, "topics": topics, "ids": ids, "prompts": prompts, **lengths, **asked}
    pipe.save_pretrained(folder / "bundle")
    write_text(folder / "rows.json", json.dumps(rows))
    return rows


def operations(pipe: HybridPipeline, rows: dict[str, Any], outputs: list[str]) -> tuple[float, float]:
    """Of both stages: two per parameter and token; the output matrix for written tokens alone."""
    decoder: Any = pipe.decoder
    read = [len(ids) for ids in pipe.encoder.tokenizer(rows["texts"], truncation=True)["input_ids"]]
    head, body = weights(decoder.model, AutoModelForCausalLM)
    body -= head  # the embedding is looked up, and where it is not the output matrix it is as large
    if not decoder.model.config.tie_word_embeddings:
        body -= head
    written = token_count(pipe, outputs)
    looked_up, layers = weights(pipe.encoder.model, AutoModelForSequenceClassification)
    layers -= looked_up
    return 2 * layers * sum(read), 2 * (body * (sum(map(len, rows["ids"])) + written) + head * written)


def weights(model: Any, kind: Any) -> tuple[int, int]:
    """Of the embedding, and of all; counted in an empty model of the same shape."""
    with torch.device("meta"):
        empty = kind.from_config(model.config)
    return empty.get_input_embeddings().weight.numel(), sum(p.numel() for p in empty.parameters())


def token_count(pipe: HybridPipeline, outputs: list[str]) -> int:
    """Tokens in outputs, an end for each."""
    return sum(len(ids) + 1 for ids in token_ids(pipe, outputs))


def token_ids(pipe: HybridPipeline, outputs: list[str]) -> list[list[int]]:
    """The tokens of outputs without white space around them, which unskew drops."""
    decoder: Any = pipe.decoder
    return [decoder.tokenizer(output.strip(), add_special_tokens=False)["input_ids"] for output in outputs]


def run_arm(name: str, folder: Path, threads: int, timeout: float) -> dict[str, Any]:
    """The results of the arm's process; `error` if it failed or took too long."""
    printed = ""
    for step in ("tune", "measure") if ARMS[name].to_tune else ("measure",):
        command = [sys.executable, str(Path(__file__).with_name("throughput_arms.py")), step, name, str(folder)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        try:
            done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=timeout)
        except subprocess.TimeoutExpired:
            return {"error": f"{step}: not done after {timeout:.0f} s"}
        if done.returncode:
            return {"error": f"{step}: {(done.stderr.strip().splitlines() or ['no reason given'])[-1][:120]}"}
        printed = done.stdout
    return json.loads(printed.strip().splitlines()[-1])


def agreement(outputs: list[list[int]], others: list[list[int]]) -> str:
    """How many rows of tokens are equal, and the first token that differs in the others."""
    firsts = [
        next((i for i, (a, b) in enumerate(zip(one, other, strict=False), 1) if a != b), min(len(one), len(other)) + 1)
        for one, other in zip(outputs, others, strict=True)
        if one != other
    ]
    equal = f"{len(outputs) - len(firsts)} of {len(outputs)}"
    return f"{equal}; token {statistics.median(firsts):g}, {min(firsts)}" if firsts else equal


def table(found: dict[str, dict[str, Any]], pipe: HybridPipeline, rows: dict[str, Any]) -> str:
    """The figures as Markdown."""
    count = len(rows["texts"])
    first = next(iter(found.values()))
    writers = [name for name, arm in found.items() if "outputs" in arm]
    plain = next((name for name in ("model.generate", "unskew float32", *writers) if name in writers), "")
    written = {name: token_ids(pipe, found[name]["outputs"]) for name in writers}
    titles = [
        *["arm", "encoder rows/s", "decoder rows/s", "both rows/s", "tokens/s", f"times {next(iter(found))}"],
        *["of the limit", "encoder, one row, ms", "decoder, one row, ms", "loading, s", "peak MB (of which libraries)"],
        f"outputs as {plain}'s; first other token, median and earliest",
    ]
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    for name, arm in found.items():
        if "error" in arm:
            lines.append(f"| {name} | {arm['error']} |")
            continue
        both = arm["encoder"] + arm["decoder"] if set(STAGES) <= set(arm) else None
        batches = f", batches of {' and '.join(map(str, arm['batches'].values()))}" if arm["batches"] else ""
        cells = [name + batches, *(f"{count / arm[stage]:.2f}" if stage in arm else "" for stage in STAGES)]
        cells += [f"{count / both:.2f}" if both else ""]
        outputs = arm.get("outputs", [])
        tokens = sum(map(len, rows["ids"])) + token_count(pipe, outputs)
        cells += [f"{tokens / arm['decoder']:.0f}" if outputs else ""]
        cells += [f"{(first['encoder'] + first['decoder']) / both:.2f}" if both and set(STAGES) <= set(first) else ""]
        share = sum(operations(pipe, rows, outputs)) / arm["matrix_rate"] / both if both else None
        cells += [f"{share:.0%}" if share else ""]
        cells += [f"{arm[f'{stage}_alone'] * 1000:.1f}" if stage in arm else "" for stage in STAGES]
        cells += [f"{arm['load']:.2f}"]
        cells += [f"{arm['peak_bytes'] / 1e6:.0f} ({arm['library_bytes'] / 1e6:.0f})"]
        cells += [agreement(written[name], written[plain]) if outputs and name != plain else ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Prepare, run every arm, print the table."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=str | None, default=None, help="a bundle; or give both bases")
    parser.add_argument("--encoder", type=str | None, default=None, help="base of stage 1")
    parser.add_argument("--decoder", type=str | None, default=None, help="base of stage 2")
    parser.add_argument("--data", type=str, required=True, help="rows with a text")
    parser.add_argument("--rows", type=int, default=64, help="number of rows")
    parser.add_argument("--new_tokens", type=int, default=16, help="longest output")
    parser.add_argument("--max_tokens", type=int, default=256, help="of prompt and text, for bases")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="on a CPU")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each stage")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds after which an arm is given up")
    parser.add_argument(
        "--device", type=str, default="cuda" if torch.cuda.is_available() else "cpu", help="of all arms"
    )
    parser.add_argument("--arms", type=list[str], default=list(ARMS), help="arms to run")
    parser.add_argument("--output", type=Path | None, default=None, help="a JSON file for the figures and the table")
    given = parser.parse_args()
    if given.model is None and (given.encoder is None or given.decoder is None):
        parser.error("give --model, or --encoder and --decoder")
    torch.set_num_threads(given.threads)
    pipe = (
        HybridPipeline.from_pretrained(given.model, "cpu", precision="float32")
        if given.model
        else from_bases(given.encoder, given.decoder, given.max_tokens)
    )
    texts = [record.text for record in load_usable(given.data)[0][: given.rows]]
    asked = {name: getattr(given, name) for name in ("new_tokens", "threads", "repeats", "device")}
    with tempfile.TemporaryDirectory() as place:
        rows = prepare(pipe, texts, asked, Path(place))
        found = {}
        for name in given.arms:
            found[name] = run_arm(name, Path(place), given.threads, given.timeout)
            print(name, {key: value for key, value in found[name].items() if key != "outputs"}, flush=True)
            if given.output:  # after each arm, so that an interrupted run keeps them
                figures = {"command": sys.argv, "arms": found, "table": table(found, pipe, rows)}
                write_text(given.output, json.dumps(figures, indent=2) + "\n")
    tokens = sum(map(len, rows["ids"])) / len(rows["ids"])
    outputs = next((arm["outputs"] for arm in found.values() if "outputs" in arm), [])
    written = f"{token_count(pipe, outputs) / len(texts):.0f} written (of at most {given.new_tokens})"
    print(f"\n{len(texts)} rows of {tokens:.0f} tokens, {written}, {given.threads} threads, {given.device};")
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}\n")
    print(table(found, pipe, rows))


if __name__ == "__main__":
    main()
