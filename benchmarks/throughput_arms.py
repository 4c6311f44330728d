"""The arms of `throughput.py`: ways to run two models over texts, each in a process of its own.

    python benchmarks/throughput_arms.py tune ARM FOLDER
    python benchmarks/throughput_arms.py measure ARM FOLDER    prints one line of JSON

FOLDER is what `throughput.py` prepares: `bundle/`, plain models of both stages, and `rows.json`: texts, the topics to
write under, each row's prompt as one string and as token ids, and what was asked for. `tune` converts models and finds
the best sizes of batches; `measure` loads, times each stage on all rows, and on rows one at a time.
"""

import importlib
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
from arm import BATCHES, Arm, Rows, Run, Stages, in_batches, need_bfloat16
from decoder_peers import PEERS
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
    pipeline,
)

from unskew.decoder import GenerationSettings
from unskew.pipeline import HybridPipeline

PLAIN_BATCH = 16
ALONE = 8  # rows that are run one at a time
MUCH_SLOWER = 1.5
OURS = ("unskew.encoder.topic_encoder", "unskew.decoder.topic_decoder")


def transformers_pipelines(folder: Path, rows: Rows) -> Stages:
    """The pipelines of transformers."""
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

    def encode(part: slice, batch: int) -> Any:
        return classify(rows["texts"][part], truncation=True, batch_size=batch)

    def decode(part: slice, batch: int) -> list[str]:
        written = write(rows["prompts"][part], batch_size=batch, **options)
        return [answer[0]["generated_text"] for answer in written]

    return {"encoder": encode, "decoder": decode}


def plain_batches(folder: Path, rows: Rows) -> Stages:
    """Forward passes and `model.generate` over padded batches in the order of the rows."""
    classifier, names, decoder, tokenizer = plain_models(folder, rows["device"])

    @torch.inference_mode()
    def encode(part: slice, batch: int) -> None:
        for own in in_batches(part, batch, len(rows["texts"])):
            inputs = names(rows["texts"][own], padding=True, truncation=True, return_tensors="pt").to(classifier.device)
            classifier(**inputs).logits.cpu()

    def decode(part: slice, batch: int) -> list[str]:
        written = []
        for own in in_batches(part, batch, len(rows["ids"])):
            inputs = tokenizer.pad({"input_ids": rows["ids"][own]}, return_tensors="pt").to(decoder.device)
            produced = decoder.generate(**inputs, generation_config=greedy(rows, tokenizer))
            ids = produced[:, inputs["input_ids"].shape[1] :]
            written += tokenizer.batch_decode(ids, skip_special_tokens=True)
        return written

    return {"encoder": encode, "decoder": decode}


def continuous_batching(folder: Path, rows: Rows) -> Stages:
    """Continuous batching, `generate_batch`; it logs errors and does not raise them, so answers are counted."""
    from transformers import ContinuousBatchingConfig

    _, _, decoder, tokenizer = plain_models(folder, rows["device"])

    def decode(part: slice, _: int) -> list[str]:
        answers = decoder.generate_batch(
            rows["ids"][part],
            generation_config=greedy(rows, tokenizer),
            continuous_batching_config=ContinuousBatchingConfig(max_memory_percent=0.1),
        )
        order = sorted(answers, key=lambda name: int(name.rsplit("_", 1)[-1]))
        if len(order) != len(rows["ids"][part]) or any(answers[name].error for name in order):
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

        if precision == "bf16":
            need_bfloat16()
        hints = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": precision}
        return openvino.Core().compile_model(str(file), "CPU", hints)

    return load


def convert_encoder(folder: Path) -> None:
    """The encoder as ONNX."""
    from unskew.encoder.tokens import pad

    bundle: Any = folder / "bundle" / "encoder"
    plain = AutoModelForSequenceClassification.from_pretrained(bundle, dtype=torch.float32).eval()
    sample = pad([[1, 2, 3], [4, 5]], 0)
    axes = {0: torch.export.Dim("rows"), 1: torch.export.Dim("tokens", max=plain.config.max_position_embeddings)}
    program: Any = torch.onnx.export(plain, (), kwargs=sample, dynamo=True, dynamic_shapes=dict.fromkeys(sample, axes))
    program.save(folder / "encoder.onnx")


def exported_encoder(folder: Path, rows: Rows, load: Callable[[Path], Callable[[Any], Any]]) -> Stages:
    """The encoder as ONNX in another runtime, with unskew's batches of similar length."""
    from unskew.encoder.tokens import pad, pad_id_of, tokenize
    from unskew.encoder.topic_encoder import CPU_TOKENS
    from unskew.runtime import TextTokenizer, group_by_length

    tokenizer = AutoTokenizer.from_pretrained(folder / "bundle" / "encoder")
    reader = TextTokenizer.private(tokenizer)
    run = load(folder / "encoder.onnx")

    def encode(part: slice, _: int) -> None:
        ids = tokenize(reader, rows["texts"][part], rows["encoder_tokens"])
        for batch in group_by_length(range(len(ids)), [len(row) for row in ids], CPU_TOKENS):
            inputs = pad([ids[i] for i in batch], pad_id_of(tokenizer))
            run({name: tensor.numpy() for name, tensor in inputs.items()})

    return {"encoder": encode}


def unskew(folder: Path, rows: Rows, precision: Any) -> Stages:
    """This package, at a precision."""
    pipe = HybridPipeline.from_pretrained(folder / "bundle", rows["device"], precision=precision)
    options = GenerationSettings(max_new_tokens=rows["new_tokens"])
    return {
        "encoder": lambda part, _: pipe.probabilities(rows["texts"][part]),
        "decoder": lambda part, _: pipe.write(rows["texts"][part], rows["topics"][part], options),
    }


def unskew_in_vllm(folder: Path, rows: Rows, precision: Any) -> Stages:
    """This package with its decoder in vLLM, without its cache of prompts between runs."""
    pipe = HybridPipeline.from_pretrained(folder / "bundle", rows["device"], precision=precision, backend="vllm")
    options = GenerationSettings(max_new_tokens=rows["new_tokens"])
    decoder: Any = pipe.decoder

    def decode(part: slice, _: int) -> list[str]:
        decoder._vllm._llm.reset_prefix_cache()
        return pipe.write(rows["texts"][part], rows["topics"][part], options)

    return {"encoder": lambda part, _: pipe.probabilities(rows["texts"][part]), "decoder": decode}


def encoder_arm(load: Callable[[Path], Callable[[Any], Any]], library: str) -> Arm:
    """An arm of the encoder alone."""
    return Arm(partial(exported_encoder, load=load), convert_encoder, libraries=(library,))


ARMS: dict[str, Arm] = {
    "transformers pipelines": Arm(transformers_pipelines, batches=BATCHES),
    "model.generate": Arm(plain_batches, batches=(PLAIN_BATCH,)),
    "generate_batch": Arm(continuous_batching),
    "ONNX Runtime": encoder_arm(onnx_runtime, "onnxruntime"),
    "OpenVINO": encoder_arm(openvino("f32"), "openvino"),
    "OpenVINO bf16": encoder_arm(openvino("bf16"), "openvino"),
    "unskew float32": Arm(partial(unskew, precision="float32"), libraries=OURS),
    "unskew bfloat16": Arm(partial(unskew, precision="bfloat16"), libraries=OURS),
    "unskew int8": Arm(partial(unskew, precision="int8"), libraries=OURS),
    "unskew, vLLM": Arm(partial(unskew_in_vllm, precision="float32"), libraries=(*OURS, "vllm")),
    "unskew, vLLM bfloat16": Arm(partial(unskew_in_vllm, precision="bfloat16"), libraries=(*OURS, "vllm")),
    **PEERS,
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


def seconds_of(run: Callable[..., Any], *given: Any) -> tuple[float, Any]:
    """Seconds, and what was returned."""
    start = time.perf_counter()
    found = run(*given)
    return time.perf_counter() - start, found


def tune(arm: Arm, folder: Path, rows: Rows) -> dict[str, int]:
    """Convert the models; the size of batches that is fastest for each stage, on all rows.

    Sizes are tried from the largest down, until one is much slower than the best.
    """
    if arm.convert is not None:
        arm.convert(folder)
    count, sizes = len(rows["texts"]), arm.batches
    sizes = [size for i, size in enumerate(sizes) if i == 0 or sizes[i - 1] < count]
    if len(sizes) == 1:
        return {}
    best = {}
    for stage, run in arm.load(folder, rows).items():
        run(slice(0, 2), 1)  # warms up
        seconds: dict[int, float] = {}
        for size in reversed(sizes):
            seconds[size], _ = seconds_of(run, slice(0, count), size)
            if seconds[size] > MUCH_SLOWER * min(seconds.values()):
                break
        best[stage] = min(seconds, key=lambda size, seconds=seconds: seconds[size])
    return best


def measure(arm: Arm, folder: Path, rows: Rows, best: dict[str, int]) -> dict[str, Any]:
    """The figures of an arm, medians in seconds."""
    for library in arm.libraries:
        importlib.import_module(library)
    found: dict[str, Any] = {"library_bytes": peak_bytes(rows["device"]), "batches": best}
    found["load"], stages = seconds_of(arm.load, folder, rows)
    for stage, run in stages.items():
        found |= timed(stage, run, rows, best.get(stage, arm.batches[0]))
    return {**found, "peak_bytes": peak_bytes(rows["device"])}


def timed(stage: str, run: Run, rows: Rows, batch: int) -> dict[str, Any]:
    """The figures of a stage: on all rows, and on rows one at a time."""
    count, outputs = len(rows["texts"]), None
    seconds, alone = [], []
    for _ in range(rows["repeats"] + 1):
        taken, outputs = seconds_of(run, slice(0, count), batch)
        seconds.append(taken)
    for i in (0, *range(min(ALONE, count))):
        alone.append(seconds_of(run, slice(i, i + 1), 1)[0])
    # The first ones warm up.
    found = {stage: statistics.median(seconds[1:]), f"{stage}_alone": statistics.median(alone[1:])}
    return {**found, "outputs": outputs} if stage == "decoder" else found


def main() -> None:
    """Tune or measure one arm."""
    warnings.filterwarnings("ignore")
    step, name, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    arm, rows, batches = ARMS[name], json.loads((folder / "rows.json").read_text("utf-8")), folder / f"{name}.json"
    torch.set_num_threads(rows["threads"])
    if step == "tune":
        batches.write_text(json.dumps(tune(arm, folder, rows)), "utf-8")
        return
    found = measure(arm, folder, rows, json.loads(batches.read_text("utf-8")) if arm.to_tune else {})
    precision = name.rpartition(" ")[2] if name.startswith("unskew") else "float32"
    print(json.dumps({**found, "matrix_rate": matrix_rate(precision, rows["device"])}))


if __name__ == "__main__":
    main()
