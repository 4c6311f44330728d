"""The steps of `gpu.py`: python benchmarks/gpu_steps.py STEP --encoder ... Prints one line of JSON.

agreement: topics, probabilities and outputs of bfloat16 beside float32.
phases:    reading prompts and writing tokens, each as a share of the measured matrix rate.
static:    `generate` with a static cache and `torch.compile`, beside unskew's engine; all stop at an output's end.
overlap:   both stages together, beside the sum of each alone.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from throughput import from_bases, operations, prepare
from throughput_arms import matrix_rate

from unskew.corpus import Record, stream
from unskew.decoder import GenerationSettings
from unskew.pipeline import HybridPipeline

REPEATS = 3


def seconds_of(run: Callable[[], Any], device: str) -> float:
    """Median of some runs after a first one."""
    found = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        run()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return statistics.median(found[1:])


def agreement(folder: Path, rows: dict[str, Any]) -> dict[str, Any]:
    """Shares of equal topics and outputs, and the largest difference of a probability."""
    found = {}
    for precision in ("float32", "bfloat16"):
        pipe = HybridPipeline.from_pretrained(folder / "bundle", rows["device"], precision=precision)
        options = GenerationSettings(max_new_tokens=rows["new_tokens"])
        outputs = pipe.write(rows["texts"], rows["topics"], options)
        found[precision] = pipe.probabilities(rows["texts"]).cpu(), outputs
    (exact, outputs), (rounded, others) = found["float32"], found["bfloat16"]
    return {
        "topics_equal": (exact.argmax(-1) == rounded.argmax(-1)).double().mean().item(),
        "largest_difference": (exact - rounded).abs().max().item(),
        "outputs_equal": statistics.mean(a == b for a, b in zip(outputs, others, strict=True)),
    }


def phases(folder: Path, rows: dict[str, Any]) -> dict[str, Any]:
    """Seconds and shares of the matrix rate in bfloat16: one new token is reading, further ones are writing."""
    pipe = HybridPipeline.from_pretrained(folder / "bundle", rows["device"], precision="bfloat16")
    write = {
        tokens: lambda tokens=tokens: pipe.write(
            rows["texts"], rows["topics"], GenerationSettings(max_new_tokens=tokens)
        )
        for tokens in (1, rows["new_tokens"])
    }
    times = {tokens: seconds_of(run, rows["device"]) for tokens, run in write.items()}
    rate = matrix_rate("bfloat16", rows["device"])
    encode = seconds_of(lambda: pipe.probabilities(rows["texts"]), rows["device"])
    encoder, reading = operations(pipe, rows, write[1]())
    _, all_of_it = operations(pipe, rows, write[rows["new_tokens"]]())
    writing = max(1e-9, times[rows["new_tokens"]] - times[1])
    return {
        "matrix_tflops": rate / 1e12,
        "encoder_share": encoder / encode / rate,
        "prefill_share": reading / times[1] / rate,
        "decode_share": (all_of_it - reading) / writing / rate,
        "prefill_seconds": times[1],
        "decode_seconds": writing,
    }


def static(folder: Path, rows: dict[str, Any]) -> dict[str, Any]:
    """Seconds for the rows, in one padded batch of `generate`, with and without a compiled model over a static cache.

    Outputs end at their end token or at the limit, as in unskew's engine; the batch goes on until the last one ends.
    """
    from throughput_arms import greedy, plain_models

    pipe = HybridPipeline.from_pretrained(folder / "bundle", rows["device"], precision="bfloat16")
    options = GenerationSettings(max_new_tokens=rows["new_tokens"])
    found = {"unskew": seconds_of(lambda: pipe.write(rows["texts"], rows["topics"], options), rows["device"])}
    _, _, model, tokenizer = plain_models(folder, rows["device"])
    model.to(torch.bfloat16)
    given = tokenizer(rows["prompts"], padding=True, add_special_tokens=False, return_tensors="pt").to(rows["device"])
    for name, cache in (("dynamic", "dynamic"), ("static_compiled", "static")):
        settings = greedy(rows, tokenizer)
        settings.cache_implementation = cache
        try:
            run = lambda settings=settings: model.generate(**given, generation_config=settings)  # noqa: E731
            found[name] = seconds_of(run, rows["device"])
        except Exception as error:  # such as a missing compiler or an unsupported shape: reported, not fatal
            found[f"{name}_error"] = str(error).splitlines()[0][:120]  # pyright: ignore[reportArgumentType]
    return found


def overlap(folder: Path, rows: dict[str, Any]) -> dict[str, Any]:
    """Seconds of both stages, where one window is written while the next is classified, and of each alone."""
    precision = "bfloat16" if rows["device"].startswith("cuda") else "float32"
    pipe = HybridPipeline.from_pretrained(folder / "bundle", rows["device"], precision=precision)
    options = GenerationSettings(max_new_tokens=rows["new_tokens"])
    texts, window = rows["texts"], max(1, len(rows["texts"]) // 4)
    both = seconds_of(lambda: list(pipe(texts, generation=options, window=window)), rows["device"])
    encoder = seconds_of(lambda: pipe.probabilities(texts), rows["device"])
    decoder = seconds_of(lambda: pipe.write(texts, rows["topics"], options), rows["device"])
    return {"both": both, "encoder": encoder, "decoder": decoder, "both_over_sum": both / (encoder + decoder)}


STEPS = {"agreement": agreement, "phases": phases, "static": static, "overlap": overlap}


def main() -> None:
    """Make the system, run one step, print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=STEPS)
    for name in ("encoder", "decoder", "data", "device"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--new_tokens", type=int, default=16)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    if not (given.output / "rows.json").exists():
        records = islice((row for row in stream(given.data) if isinstance(row, Record)), given.rows)
        asked = {"new_tokens": given.new_tokens, "repeats": REPEATS, "threads": torch.get_num_threads()}
        given.output.mkdir(parents=True, exist_ok=True)
        pipe = from_bases(given.encoder, given.decoder, 256)
        prepare(pipe, [row.text for row in records], {**asked, "device": given.device}, given.output)
    rows = json.loads((given.output / "rows.json").read_text("utf-8"))
    found = STEPS[given.step](given.output, rows)
    print(json.dumps({key: round(value, 4) if isinstance(value, float) else value for key, value in found.items()}))


if __name__ == "__main__":
    main()
