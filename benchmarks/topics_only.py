"""Measures the throughput of topics alone (`decoder: null`) on a CPU: unskew's job against other ways to run the base.

    RAYON_NUM_THREADS=1 OMP_NUM_THREADS=1 python benchmarks/topics_only.py --model BUNDLE --data FILE --base FOLDER

Every arm decides the same texts, in turns in one process. On one thread seconds are processor time, which hardly
depends on other load; on more (`--threads`) they are the clock's, which needs an idle machine. A figure is the median
of `--repeats` rounds after a first one. Texts are joined rows of FILE, cut to lengths from half to one and a half times
each of `--tokens`.

The peers: sentence-transformers' `encode` of the base with a linear head (fitted first on 1,000 rows of FILE);
transformers' pipeline; ONNX Runtime and OpenVINO with the exports of `unskew export`, and CTranslate2 with its head in
numpy, on batches of texts sorted by characters; Infinity, where the environment variable INFINITY_PYTHON names an
interpreter that has it, in a process of its own. Each uses the better of the batch sizes 8 and 32. Peers that are not
installed are left out, and bfloat16 where the processor has none. "int8" is weights and inputs of linear layers in
int8: ONNX Runtime's `quantize_dynamic`, NNCF's `compress_weights` for OpenVINO, which rounds inputs too where the
processor has VNNI, and CTranslate2's own.

"Job" is from file to file, for the bundle's target prior; "model" is its forward passes alone. Topics are compared with
those in memory, for the bundle's own shares.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from unskew.common import write_jsonl
from unskew.corpus import load_usable
from unskew.exporting import ExportSettings, export
from unskew.jobs import JobSettings, open_model, run
from unskew.pipeline import HybridPipeline
from unskew.runtime import Precision, has_bfloat16

BATCHES = (8, 32)
PRECISIONS: tuple[Precision, ...] = ("bfloat16", "int8") if has_bfloat16() else ("int8",)
TOKENS = 3_000  # about so many in the texts of a length

Arm = Callable[[list[str]], list[str]]
RunBatch = Callable[[dict[str, np.ndarray]], Any]  # from padded ids and mask (B, T) to scores (B, C)


def make_texts(rows: Sequence[str], tokenizer: Any, tokens: int) -> list[str]:
    """Texts of about that many tokens, special tokens included, in random order."""
    random = np.random.default_rng(tokens)
    words = " . ".join(rows).split()
    offsets = tokenizer(" ".join(words), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    spans, joined, texts, place = offsets["offset_mapping"], " ".join(words), [], 0
    for _ in range(max(12, TOKENS // tokens)):
        length = max(3, int(random.integers(tokens // 2, tokens + tokens // 2 + 1))) - 2
        place = place if place + length < len(spans) else 0
        texts.append(joined[spans[place][0] : spans[place + length - 1][1]])
        place += length
    return texts


def our_job(pipe: HybridPipeline, model: str, place: Path) -> Arm:
    """`unskew predict` in this process, without loading: rows from a file, results to a file."""
    loaded = pipe.with_target_prior
    system = replace(open_model(model, "cpu"), load=lambda prior: pipe if prior is None else loaded(prior))

    def decide(texts: list[str]) -> list[str]:
        write_jsonl(place / "in.jsonl", ({"id": str(i), "text": text} for i, text in enumerate(texts)))
        job = JobSettings(
            str(place / "in.jsonl"), str(place / "out.jsonl"), progress="none", overwrite=True, restart=True
        )
        run(system, job)
        return [json.loads(line)["topic"] for line in (place / "out.jsonl").open()]

    return decide


def our_call(pipe: HybridPipeline) -> Arm:
    """`HybridPipeline` in memory."""
    return lambda texts: [str(result.topic) for result in pipe(texts)]


def sentence_transformers(base: str, rows: Sequence[tuple[str, str]], batch: int) -> Arm:
    """The `encode` of sentence-transformers, which sorts by length, and a logistic regression on its features."""
    from sentence_transformers import SentenceTransformer
    from sklearn.linear_model import LogisticRegression

    model = SentenceTransformer(base, device="cpu")
    model.max_seq_length = 512
    given = rows[:1000]
    head = LogisticRegression(C=10, class_weight="balanced", max_iter=300)
    head.fit(model.encode([text for text, _ in given]), [topic for _, topic in given])
    return lambda texts: list(map(str, head.predict(model.encode(texts, batch_size=batch))))


def transformers_pipeline(encoder: Path, batch: int) -> Arm:
    """The bundle's encoder, plain."""
    from transformers import pipeline

    classify: Any = pipeline("text-classification", str(encoder), device="cpu")
    return lambda texts: [row["label"] for row in classify(texts, truncation=True, batch_size=batch)]


def exported(folder: Path, run_batch: RunBatch, names: Sequence[str], batch: int) -> Arm:
    """A loop over texts sorted by characters, by `tokenizers` and the runtime alone."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def decide(texts: list[str]) -> list[str]:
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        found = [""] * len(texts)
        for start in range(0, len(order), batch):
            own = order[start : start + batch]
            rows = tokenizer.encode_batch_fast([texts[i] for i in own])
            inputs = {
                "input_ids": np.array([row.ids for row in rows]),
                "attention_mask": np.array([row.attention_mask for row in rows]),
            }
            for i, best in zip(own, run_batch(inputs).argmax(-1), strict=True):
                found[i] = names[int(best)]
        return found

    return decide


def onnx_session(file: Path) -> RunBatch:
    """ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(["log_probabilities"], inputs)[0]


def onnx_int8(file: Path) -> RunBatch:
    """ONNX Runtime with weights rounded to int8 now, and inputs as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    rounded = file.with_name("int8.onnx")
    quantize_dynamic(file, rounded, weight_type=QuantType.QInt8)
    return onnx_session(rounded)


def openvino_model(model: Any, precision: str = "f32") -> RunBatch:
    """OpenVINO, a file or a model, in "f32" or "bf16"."""
    import openvino

    threads = torch.get_num_threads()
    hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    compiled: Any = openvino.Core().compile_model(model, "CPU", hints)
    return lambda inputs: compiled(inputs)["log_probabilities"]


def openvino_int8(file: Path) -> RunBatch:
    """OpenVINO with weights rounded to int8 now, and inputs as they come where the processor has VNNI."""
    import nncf
    import openvino

    return openvino_model(nncf.compress_weights(openvino.Core().read_model(file)))


def ctranslate2(encoder: Path, place: Path, precision: str) -> RunBatch:
    """CTranslate2 in "float32" or "int8", the last layer in numpy."""
    from ctranslate2 import Encoder, StorageView
    from ctranslate2.converters import TransformersConverter
    from transformers import AutoModelForSequenceClassification

    TransformersConverter(str(encoder)).convert(str(place / "ctranslate2"), force=True)
    model = Encoder(str(place / "ctranslate2"), intra_threads=torch.get_num_threads(), compute_type=precision)
    head: Any = AutoModelForSequenceClassification.from_pretrained(encoder).classifier
    weight, bias = head.weight.detach().numpy().T, head.bias.detach().numpy()

    def run_batch(inputs: dict[str, np.ndarray]) -> np.ndarray:
        ids, lengths = inputs["input_ids"], inputs["attention_mask"].sum(1)
        views = [StorageView.from_array(np.ascontiguousarray(given, np.int32)) for given in (ids, lengths)]
        return np.array(model.forward_batch(*views).pooler_output) @ weight + bias

    return run_batch


def infinity(encoder: Path, batch: int) -> Arm:
    """Infinity in its own interpreter."""
    script = Path(__file__).with_name("infinity_peer.py")
    command = [os.environ["INFINITY_PYTHON"], script, encoder, str(batch)]
    child: Any = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def decide(texts: list[str]) -> list[str]:
        print(json.dumps(texts), file=child.stdin, flush=True)
        return json.loads(child.stdout.readline())

    return decide


def peers(given: argparse.Namespace, pipe: HybridPipeline, place: Path) -> Iterator[tuple[str, Callable[[int], Arm]]]:
    """Peers by name, to be made for a batch size."""
    rows = [(row.text, str(row.topic)) for row in load_usable(given.data)[0]]
    encoder, names = Path(given.model) / "encoder", pipe.topics.names
    yield "transformers pipeline", partial(transformers_pipeline, encoder)
    if given.base:
        yield "sentence-transformers, linear head", partial(sentence_transformers, given.base, rows)
    if "INFINITY_PYTHON" in os.environ:
        yield "Infinity", partial(infinity, encoder)
    for kind in ("onnx", "openvino"):
        export(given.model, str(place / kind), ExportSettings(kind))
    onnx, openvino = place / "onnx" / "model.onnx", place / "openvino" / "openvino_model.xml"
    for name, load in {
        "ONNX Runtime": partial(onnx_session, onnx),
        "ONNX Runtime int8": partial(onnx_int8, onnx),
        "OpenVINO": partial(openvino_model, openvino),
        **({"OpenVINO bf16": partial(openvino_model, openvino, "bf16")} if has_bfloat16() else {}),
        "OpenVINO int8": partial(openvino_int8, openvino),
        "CTranslate2": partial(ctranslate2, encoder, place, "float32"),
        "CTranslate2 int8": partial(ctranslate2, encoder, place, "int8"),
    }.items():
        try:
            yield name, partial(exported, place / "onnx", load(), names)
        except ModuleNotFoundError as missing:
            print(f"{name} is left out: {missing}", flush=True)


def now() -> float:
    """Processor seconds of this process on one thread; on more, where one may wait for the other, the clock's."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def now_with_children() -> float:
    """The same, with the processor seconds of processes that this one started and that still run."""
    children = psutil.Process().children() if torch.get_num_threads() == 1 else []
    times = [child.cpu_times() for child in children]
    return now() + sum(used.user + used.system for used in times)


def clock(arm: Arm, texts: list[str]) -> tuple[float, list[str]]:
    """Seconds, and the topics."""
    start = now_with_children()
    topics = arm(texts)
    return now_with_children() - start, topics


def best_batch(make: Callable[[int], Arm], texts: list[str]) -> tuple[int, Arm]:
    """The fastest batch size on these texts."""
    arms = {batch: make(batch) for batch in BATCHES}
    for arm in arms.values():
        arm(texts[:8])
    seconds = {batch: clock(arm, texts[: len(texts) // 2])[0] for batch, arm in arms.items()}
    batch = min(BATCHES, key=lambda batch: seconds[batch])
    return batch, arms[batch]


class Clocked:
    """Adds the seconds of a model's calls."""

    def __init__(self, model: Any) -> None:
        self.seconds, self._forward = 0.0, model.forward
        model.forward = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        start = now()
        try:
            return self._forward(*args, **kwargs)
        finally:
            self.seconds += now() - start


def measure(arms: dict[str, Arm], model: Clocked, texts: list[str], repeats: int) -> list[str]:
    """Lines of the table for one length."""
    seconds: dict[str, list[float]] = {name: [] for name in [*arms, "unskew, model"]}
    topics = {}
    for _ in range(repeats + 1):
        for name, arm in arms.items():
            before = model.seconds
            spent, topics[name] = clock(arm, texts)
            seconds[name].append(spent)
            if name == "unskew, job":
                seconds["unskew, model"].append(model.seconds - before)
    ours, lines = seconds["unskew, job"][1:], []
    for name, own in seconds.items():
        rate = len(texts) / statistics.median(own[1:])
        ratio = statistics.median(other / one for one, other in zip(ours, own[1:], strict=True))
        same = topics.get(name) and sum(a == b for a, b in zip(topics[name], topics["unskew, in memory"], strict=True))
        lines.append(f"| {name} | {rate:.0f} | {ratio:.2f} | {f'{same} of {len(texts)}' if same else ''} |")
    return lines


def main() -> None:
    """Measure and print a table for each length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a bundle fitted with `decoder: null`")
    parser.add_argument("--data", required=True, help="rows with a text and a topic")
    parser.add_argument("--base", help="its base, for sentence-transformers")
    parser.add_argument("--tokens", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    pipe = HybridPipeline.from_pretrained(given.model, "cpu")
    rows = [row.text for row in load_usable(given.data)[0]]
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        made = dict(peers(given, pipe, place))
        ours = {"unskew, job": our_job(pipe, given.model, place), "unskew, in memory": our_call(pipe)}
        for precision in PRECISIONS:
            rounded = HybridPipeline.from_pretrained(given.model, "cpu", precision=precision)
            ours[f"unskew, in memory, {precision}"] = our_call(rounded)
        model = Clocked(pipe.encoder.model)
        for tokens in given.tokens:
            texts = make_texts(rows, pipe.encoder.tokenizer, tokens)
            best = {name: best_batch(make, texts) for name, make in made.items()}
            arms = ours | {f"{name}, batches of {batch}": arm for name, (batch, arm) in best.items()}
            mean = statistics.mean(pipe.encoder.count_tokens(texts))
            print(f"\n{len(texts)} texts of {mean:.0f} tokens\n\n| arm | rows/s | times the job's time | same topics |")
            print("|---|---|---|---|", *measure(arms, model, texts, given.repeats), sep="\n", flush=True)


if __name__ == "__main__":
    main()
