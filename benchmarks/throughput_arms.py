"""The arms of `throughput.py`: ways to run two models over texts, each in its own process.

python benchmarks/throughput_arms.py ARM FOLDER    prints one line of JSON; FOLDER is what `throughput.py` prepares

FOLDER holds `bundle/`, plain models of both stages, and `rows.json`: texts, the topics to write under, each row's
prompt as one string and as token ids, and what was asked for. Every arm times stage 1 and stage 2 on the same rows.
"""

import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from decoder_peers import PEERS, ROW_BY_ROW, Decode
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
    pipeline,
)

from unskew.decoder import GenerationSettings
from unskew.pipeline import HybridPipeline

BATCHES = (1, 4, 16)  # tried by the transformers pipelines, the best is taken
TRIED_ROWS = 16
PLAIN_BATCH = 16

Run = Callable[[], Any]
Stages = dict[str, Run]


def transformers_pipelines(folder: Path, rows: dict[str, Any]) -> Stages:
    """The pipelines of transformers, at the best batch size for each stage."""
    device = rows["device"]
    tokenizer = AutoTokenizer.from_pretrained(folder / "bundle" / "decoder", padding_side="left")
    classify: Any = pipeline("text-classification", str(folder / "bundle" / "encoder"), device=device)
    write: Any = pipeline(
        "text-generation",
        model=AutoModelForCausalLM.from_pretrained(folder / "bundle" / "decoder", dtype=torch.float32),
        tokenizer=tokenizer,
        device=device,
    )
    options = {"max_new_tokens": rows["new_tokens"], "do_sample": False, "return_full_text": False}

    def encode(batch: int, count: int | None = None) -> Any:
        return classify(rows["texts"][:count], truncation=True, batch_size=batch)

    def decode(batch: int, count: int | None = None) -> list[str]:
        written = write(rows["prompts"][:count], batch_size=batch, **options)
        return [answer[0]["generated_text"] for answer in written]

    best = {name: best_batch(stage) for name, stage in (("encoder", encode), ("decoder", decode))}
    return {"encoder": lambda: encode(best["encoder"]), "decoder": lambda: decode(best["decoder"])}


def best_batch(stage: Callable[[int, int], Any]) -> int:
    """The batch size that is fastest on the first rows."""
    stage(1, 2)
    seconds = {}
    for batch in BATCHES:
        start = time.perf_counter()
        stage(batch, TRIED_ROWS)
        seconds[batch] = time.perf_counter() - start
    return min(seconds, key=lambda batch: seconds[batch])


def plain_batches(folder: Path, rows: dict[str, Any]) -> Stages:
    """Forward passes and `model.generate` over padded batches in the order of the rows."""
    classifier, names, decoder, tokenizer = plain_models(folder, rows["device"])

    @torch.inference_mode()
    def encode() -> None:
        for start in range(0, len(rows["texts"]), PLAIN_BATCH):
            texts = rows["texts"][start : start + PLAIN_BATCH]
            inputs = names(texts, padding=True, truncation=True, return_tensors="pt").to(classifier.device)
            classifier(**inputs).logits.cpu()

    def decode() -> list[str]:
        written = []
        for start in range(0, len(rows["ids"]), PLAIN_BATCH):
            batch = {"input_ids": rows["ids"][start : start + PLAIN_BATCH]}
            inputs = tokenizer.pad(batch, return_tensors="pt").to(decoder.device)
            produced = decoder.generate(**inputs, generation_config=greedy(rows, tokenizer))
            ids = produced[:, inputs["input_ids"].shape[1] :]
            written += tokenizer.batch_decode(ids, skip_special_tokens=True)
        return written

    return {"encoder": encode, "decoder": decode}


def continuous_batching(folder: Path, rows: dict[str, Any]) -> Stages:
    """Continuous batching, `generate_batch`; it logs errors and does not raise them, so answers are counted."""
    from transformers import ContinuousBatchingConfig

    _, _, decoder, tokenizer = plain_models(folder, rows["device"])

    def decode() -> list[str]:
        answers = decoder.generate_batch(
            rows["ids"],
            generation_config=greedy(rows, tokenizer),
            continuous_batching_config=ContinuousBatchingConfig(max_memory_percent=0.1),
        )
        order = sorted(answers, key=lambda name: int(name.rsplit("_", 1)[-1]))
        if len(order) != len(rows["ids"]) or any(answers[name].error for name in order):
            raise RuntimeError("generate_batch lost rows")
        return [tokenizer.decode(answers[name].generated_tokens, skip_special_tokens=True) for name in order]

    return {"decoder": decode}


def onnx_runtime(file: Path) -> Callable[[Any], Any]:
    """Runs an exported model in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(file), options)
    return lambda inputs: session.run(None, inputs)


def openvino(precision: str) -> Callable[[Path], Callable[[Any], Any]]:
    """Runs an exported model in OpenVINO, computing in "f32" or "bf16"."""

    def load(file: Path) -> Callable[[Any], Any]:
        import openvino

        hints = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": precision}
        return openvino.Core().compile_model(str(file), "CPU", hints)

    return load


def exported_encoder(folder: Path, rows: dict[str, Any], load: Callable[[Path], Callable[[Any], Any]]) -> Stages:
    """The encoder as ONNX in another runtime, with unskew's batches of similar length."""
    from unskew.encoder import TopicEncoder
    from unskew.encoder.tokens import pad, pad_id_of, tokenize
    from unskew.encoder.topic_encoder import CPU_TOKENS
    from unskew.runtime import TextTokenizer, group_by_length

    encoder = TopicEncoder.from_pretrained(folder / "bundle" / "encoder")
    plain = AutoModelForSequenceClassification.from_pretrained(
        folder / "bundle" / "encoder", dtype=torch.float32
    ).eval()
    reader = TextTokenizer.private(encoder.tokenizer)
    sample = pad(tokenize(reader, rows["texts"][:3], encoder.max_tokens), pad_id_of(encoder.tokenizer))
    file = folder / "encoder.onnx"
    axes = {0: torch.export.Dim("rows"), 1: torch.export.Dim("tokens", max=encoder.max_tokens)}
    program: Any = torch.onnx.export(plain, (), kwargs=sample, dynamo=True, dynamic_shapes=dict.fromkeys(sample, axes))
    program.save(file)
    run = load(file)

    def encode() -> None:
        ids = tokenize(reader, rows["texts"], encoder.max_tokens)
        for batch in group_by_length(range(len(ids)), [len(row) for row in ids], CPU_TOKENS):
            inputs = pad([ids[i] for i in batch], pad_id_of(encoder.tokenizer))
            run({name: tensor.numpy() for name, tensor in inputs.items()})

    return {"encoder": encode}


def unskew(precision: Any) -> Callable[[Path, dict[str, Any]], Stages]:
    """This package, at a precision."""

    def arm(folder: Path, rows: dict[str, Any]) -> Stages:
        pipe = HybridPipeline.from_pretrained(folder / "bundle", rows["device"], precision=precision)
        options = GenerationSettings(max_new_tokens=rows["new_tokens"])
        return {
            "encoder": lambda: pipe.probabilities(rows["texts"]),
            "decoder": lambda: pipe.write(rows["texts"], rows["topics"], options),
        }

    return arm


def unskew_in_vllm(precision: Any) -> Callable[[Path, dict[str, Any]], Stages]:
    """This package with its decoder in vLLM, without its cache of prompts between runs."""

    def arm(folder: Path, rows: dict[str, Any]) -> Stages:
        pipe = HybridPipeline.from_pretrained(folder / "bundle", rows["device"], precision=precision, backend="vllm")
        options = GenerationSettings(max_new_tokens=rows["new_tokens"])
        decoder: Any = pipe.decoder

        def decode() -> list[str]:
            decoder._vllm._llm.reset_prefix_cache()
            return pipe.write(rows["texts"], rows["topics"], options)

        return {"encoder": lambda: pipe.probabilities(rows["texts"]), "decoder": decode}

    return arm


def at_its_best(peer: Callable[[Path, dict[str, Any]], Decode]) -> Callable[[Path, dict[str, Any]], Stages]:
    """An arm of the decoder alone, at its best batch size."""

    def arm(folder: Path, rows: dict[str, Any]) -> Stages:
        decode = peer(folder, rows)
        best = best_batch(decode)
        return {"decoder": lambda: decode(best)}

    return arm


def alone(peer: Callable[[Path, dict[str, Any]], Run]) -> Callable[[Path, dict[str, Any]], Stages]:
    """An arm of the decoder alone, as it is."""
    return lambda folder, rows: {"decoder": peer(folder, rows)}


ARMS: dict[str, Callable[[Path, dict[str, Any]], Stages]] = {
    "transformers pipelines": transformers_pipelines,
    "model.generate": plain_batches,
    "generate_batch": continuous_batching,
    "ONNX Runtime": partial(exported_encoder, load=onnx_runtime),
    "OpenVINO": partial(exported_encoder, load=openvino("f32")),
    "OpenVINO bf16": partial(exported_encoder, load=openvino("bf16")),
    "unskew float32": unskew("float32"),
    "unskew bfloat16": unskew("bfloat16"),
    "unskew int8": unskew("int8"),
    "unskew, vLLM": unskew_in_vllm("float32"),
    "unskew, vLLM bfloat16": unskew_in_vllm("bfloat16"),
    **{name: at_its_best(peer) for name, peer in PEERS.items()},
    **{name: alone(peer) for name, peer in ROW_BY_ROW.items()},
}


def plain_models(folder: Path, device: str) -> tuple[Any, Any, Any, Any]:
    """Classifier, its tokenizer, language model, its tokenizer, in float32."""
    encoder, decoder = folder / "bundle" / "encoder", folder / "bundle" / "decoder"
    classifier: Any = AutoModelForSequenceClassification.from_pretrained(encoder, dtype=torch.float32)
    backend: Any = AutoModelForCausalLM.from_pretrained(decoder, dtype=torch.float32)
    return (
        classifier.eval().to(device),
        AutoTokenizer.from_pretrained(encoder),
        backend.eval().to(device),
        AutoTokenizer.from_pretrained(decoder, padding_side="left"),
    )


def greedy(rows: dict[str, Any], tokenizer: Any) -> GenerationConfig:
    """The most probable token each time, up to the tokens asked for."""
    return GenerationConfig(
        max_new_tokens=rows["new_tokens"],
        do_sample=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def matrix_rate(precision: str, device: str) -> float:
    """Measured operations per second of a large product, the best of some tries.

    On a GPU the product is larger and a try has many, so that starting them and waiting for them does not count.
    """
    size, products, tries = (8192, 20, 3) if device.startswith("cuda") else (2048, 1, 10)
    layer: Any = torch.nn.Linear(size, size, bias=False).to(device)
    inputs = torch.randn(size, size, device=device)
    if precision == "int8":
        from unskew.runtime.int8 import Int8Linear

        layer = Int8Linear(layer)
    elif precision == "bfloat16":
        layer, inputs = layer.bfloat16(), inputs.bfloat16()
    best = 0.0
    with torch.inference_mode():
        outputs = layer(inputs)  # the first one also chooses its kernel
        for _ in range(tries):
            outputs[0, 0].item()  # waits for the device
            start = time.perf_counter()
            for _ in range(products):
                outputs = layer(inputs)
            outputs[0, 0].item()
            best = max(best, products * 2 * size**3 / (time.perf_counter() - start))
    return best


def peak_bytes(device: str) -> int:
    """The peak memory of this process, on a GPU the GPU's."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    # Not `getrusage`, which begins with what the process that started this one held.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Time one arm."""
    warnings.filterwarnings("ignore")
    name, folder = sys.argv[1], Path(sys.argv[2])
    rows = json.loads((folder / "rows.json").read_text("utf-8"))
    torch.set_num_threads(rows["threads"])
    found: dict[str, Any] = {"library_bytes": peak_bytes(rows["device"])}
    for stage, run in ARMS[name](folder, rows).items():
        seconds = []
        for _ in range(rows["repeats"] + 1):  # the first warms up
            start = time.perf_counter()
            outputs = run()
            seconds.append(time.perf_counter() - start)
        found[stage] = statistics.median(seconds[1:])
        if stage == "decoder":
            found["outputs"] = [output.strip() for output in outputs]  # pyright: ignore[reportPossiblyUnboundVariable]
    precision = name.rpartition(" ")[2] if name.startswith("unskew") else "float32"
    found["matrix_rate"] = matrix_rate(precision, rows["device"])
    print(json.dumps({**found, "peak_bytes": peak_bytes(rows["device"])}))


if __name__ == "__main__":
    main()
