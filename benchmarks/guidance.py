"""How much longer does a guided output take? Processor time with guidance to the time without, by rows in a batch.

    python benchmarks/guidance.py --decoder SMOLLM2 --texts FILE [--rows 1 8 64]

The model is not trained for topics, which takes the same time. No output ends before `--tokens`; the better of two runs
counts. On one thread, in float32.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from unskew.corpus import Columns, load_usable
from unskew.decoder import GenerationSettings
from unskew.decoder.engine import Engine, Guidance
from unskew.decoder.generation import TokenSelector
from unskew.runtime import prepack_linears

PROMPT = "Name the topic, then write the headline.\n\nText: "


def seconds(
    engine: Engine, rows: Sequence[list[int]], topics: Sequence[list[int]], end: int, tokens: int
) -> list[float]:
    """Processor time of plain and of guided outputs, the better of two runs each."""

    def selector(batch: list[int]) -> TokenSelector:
        return TokenSelector(GenerationSettings(), [end], [0] * len(batch), torch.device("cpu"))

    def taken(given: Sequence[list[int]], guidance: Guidance | None) -> float:
        begun = time.process_time()
        engine.write(given, selector, tokens, guidance=guidance)
        return time.process_time() - begun

    marked = [[*row, *topic] for row, topic in zip(rows, topics, strict=True)]
    runs = [(taken(marked, None), taken(rows, Guidance(topics, 2.0))) for _ in range(2)]
    return [min(own) for own in zip(*runs, strict=True)]


def main() -> None:
    """Print a table of the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decoder", required=True)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--tokens", type=int, default=32)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(chosen.decoder)
    model = AutoModelForCausalLM.from_pretrained(chosen.decoder, dtype=torch.float32).eval()
    prepack_linears(model)
    records = load_usable(chosen.texts, Columns(), needs=("text",))[0][: max(chosen.rows)]
    prefix = tokenizer(PROMPT)["input_ids"]
    rows = [[*prefix, *tokenizer(f"{record.text}\n\n")["input_ids"]] for record in records]
    topics = [[i % 7] for i in range(len(rows))]  # any tokens
    end = int(tokenizer.eos_token_id)
    engine = Engine(model, prefix, end, end)
    print("| rows | plain, s | guided, s | ratio |\n|---|---|---|---|")
    for count in chosen.rows:
        plain, guided = seconds(engine, rows[:count], topics[:count], end, chosen.tokens)
        print(f"| {count} | {plain:.1f} | {guided:.1f} | {guided / plain:.2f} |", flush=True)


if __name__ == "__main__":
    main()
