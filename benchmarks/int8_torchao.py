"""Compares our 8-bit linear layers with torchao's dynamic ones on a CPU: time, and error against float32.

    python benchmarks/int8_torchao.py

Needs `pip install torchao`. One layer of 576 to 1536 features (SmolLM2-135M's first of the MLP), at the row counts of a
generated token (one row per text), a batch of them, and a few short prompts; torchao's layer both eager and compiled.
"""

import statistics
import time
from collections.abc import Callable

import torch
import torchao
from torch import Tensor, nn
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

from unskew.runtime.int8 import Int8Linear

ROWS = (1, 32, 256)
REPEATS = 10


def milliseconds(layer: Callable[[Tensor], Tensor], rows: Tensor) -> float:
    """The median time of a call, after three that warm up."""
    times = []
    for _ in range(REPEATS + 3):
        start = time.perf_counter()
        layer(rows)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[3:])


def main() -> None:
    """Print one row for each layer and number of rows."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    plain = nn.Linear(576, 1536).eval()
    theirs = nn.Sequential(nn.Linear(576, 1536)).eval()
    theirs[0].load_state_dict(plain.state_dict())
    quantize_(theirs, Int8DynamicActivationInt8WeightConfig())
    layers: dict[str, Callable[[Tensor], Tensor]] = {
        "float32": plain,
        "ours": Int8Linear(plain),
        "torchao": theirs,
        "torchao, compiled": torch.compile(theirs, dynamic=True),  # the number of rows changes from batch to batch
    }
    print(f"torch {torch.__version__}, torchao {torchao.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    print("| layer | rows | ms | error, relative to the output's norm |\n|---|---|---|---|")
    with torch.inference_mode():
        for rows in ROWS:
            inputs = torch.randn(rows, 576)
            exact = plain(inputs)
            for name, layer in layers.items():
                error = float((layer(inputs) - exact).norm() / exact.norm())
                print(f"| {name} | {rows} | {milliseconds(layer, inputs):.3f} | {error:.4f} |")


if __name__ == "__main__":
    main()
