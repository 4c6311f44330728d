"""How long one text takes, against the bare forward passes that it needs, and how long a bundle takes to load.

    python benchmarks/latency.py --model BUNDLE --data FILE

`HybridPipeline([text])` and the same forward passes by hand take turns, text by text, so that the medians of their
ratios hold on a shared machine. By hand: the encoder's logits of prepared ids; the decoder's reading of the prompt,
then one step for each token that the pipeline wrote, with transformers' own cache. Tokenising and deciding are the
overhead.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache

from unskew.corpus import stream
from unskew.decoder import GenerationSettings
from unskew.encoder.tokens import pad, pad_id_of, tokenize
from unskew.pipeline import HybridPipeline
from unskew.runtime import TextTokenizer

LOADS = 5
LOADING = """
import sys, time
from unskew import HybridPipeline
import unskew.encoder.topic_encoder, unskew.decoder.topic_decoder
start = time.perf_counter()
HybridPipeline.from_pretrained(sys.argv[1], "cpu")
print(time.perf_counter() - start)
"""


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what was returned."""
    start = time.perf_counter()
    found = run()
    return time.perf_counter() - start, found


@torch.inference_mode()
def bare_encoder(pipe: HybridPipeline, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """One forward pass."""
    model: Any = pipe.encoder.model
    return model(**inputs).logits


@torch.inference_mode()
def bare_decoder(pipe: HybridPipeline, prompt: list[int], written: int) -> None:
    """The prompt in one pass, then `written` steps of one token each, the last position's logits alone."""
    model: Any = pipe.decoder.model  # pyright: ignore[reportOptionalMemberAccess]
    cache, ids = DynamicCache(), torch.tensor([prompt])
    for _ in range(written):
        logits = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        ids = logits[:, -1].argmax(-1, keepdim=True)


def encoder_ratios(pipe: HybridPipeline, texts: list[str]) -> list[tuple[float, float]]:
    """Seconds of the pipeline without its decoder, and of the bare pass, for each text."""
    alone = HybridPipeline(pipe.encoder, None, pipe.corrector, pipe.description, pipe.metrics)
    reader = TextTokenizer.private(pipe.encoder.tokenizer)
    pairs = []
    for text in texts:
        inputs = pad(tokenize(reader, [text], pipe.encoder.max_tokens), pad_id_of(pipe.encoder.tokenizer))
        ours, _ = timed(lambda text=text: list(alone([text])))
        bare, _ = timed(lambda inputs=inputs: bare_encoder(pipe, inputs))
        pairs.append((ours, bare))
    return pairs


def whole_ratios(pipe: HybridPipeline, texts: list[str], options: GenerationSettings) -> list[tuple[float, float]]:
    """Seconds of both stages, and of their bare passes, for each text."""
    decoder: Any = pipe.decoder
    reader = TextTokenizer.private(pipe.encoder.tokenizer)
    pairs = []
    for text in texts:
        ours, (result,) = timed(lambda text=text: list(pipe([text], generation=options)))
        inputs = pad(tokenize(reader, [text], pipe.encoder.max_tokens), pad_id_of(pipe.encoder.tokenizer))
        prompt = [*decoder._sequencer.prompts([text], False)[0], *decoder._sequencer.topic_tokens(result.topic)]
        written = len(decoder.tokenizer(result.output, add_special_tokens=False)["input_ids"]) + 1  # and the end
        steps = min(written, options.max_new_tokens or written)
        bare, _ = timed(
            lambda inputs=inputs, prompt=prompt, steps=steps: (
                bare_encoder(pipe, inputs),
                bare_decoder(pipe, prompt, steps),
            )
        )
        pairs.append((ours, bare))
    return pairs


def line(name: str, pairs: list[tuple[float, float]]) -> str:
    """A row of the table."""
    ours, bare = (statistics.median(part) * 1000 for part in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    added = statistics.median(one - other for one, other in pairs) * 1000
    return f"| {name} | {ours:.1f} | {bare:.1f} | {added:+.1f} | **{ratio:.2f}** |"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path, help="a bundle with a decoder")
    parser.add_argument("--data", required=True, help="rows with a text")
    parser.add_argument("--texts", type=int, default=40)
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    texts = [record.text for record in islice(stream(given.data), given.texts + 2)]  # type: ignore[union-attr]
    pipe = HybridPipeline.from_pretrained(given.model, "cpu")
    options = GenerationSettings(max_new_tokens=given.new_tokens)
    print("| one text | unskew, ms | bare passes, ms | added, ms | median ratio |\n|---|---|---|---|---|")
    print(line("topic alone", encoder_ratios(pipe, texts)[2:]), flush=True)  # the first two warm up
    print(line(f"topic and up to {given.new_tokens} tokens", whole_ratios(pipe, texts, options)[2:]), flush=True)
    command = [sys.executable, "-c", LOADING, str(given.model)]
    loads = [float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(LOADS)]
    print(f"\nloading, s: {json.dumps([round(load, 2) for load in sorted(loads)])}")


if __name__ == "__main__":
    main()
