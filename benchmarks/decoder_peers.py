"""Arms of `throughput.py` for the decoder in compiled runtimes: CTranslate2, OpenVINO GenAI and ONNX Runtime GenAI.

They are installed by `pip install --no-deps ctranslate2 openvino-genai openvino-tokenizers onnxruntime-genai`, get
every prompt as token ids, and convert the bundle's plain model first. For OpenVINO optimum-intel converts; the
environment variable OPTIMUM_PYTHON names an interpreter that has it, as it needs an older transformers (and, beside a
torch for CPUs, no torchvision).

Each computes in the precision of its name throughout: weights, products, keys and values. "int8" is weights and inputs
of linear layers in int8, all else in float32.
"""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from arm import BATCHES, Arm, Rows, Stages, in_batches, need_bfloat16
from transformers import AutoTokenizer

# By default OpenVINO keeps keys and values in uint8 and, where the processor has VNNI, rounds the inputs of rounded
# weights to int8, whatever the precision.
OPENVINO: dict[str, dict[str, Any]] = {
    "float32": {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0},
    "bfloat16": {
        "INFERENCE_PRECISION_HINT": "bf16",
        "KV_CACHE_PRECISION": "bf16",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    },
    "int8": {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"},
}


def convert_for_ctranslate2(folder: Path) -> None:
    """One model in float32 for all precisions: CTranslate2 rounds it as it loads."""
    from ctranslate2.converters import TransformersConverter

    if not (folder / "ctranslate2").exists():
        TransformersConverter(str(folder / "bundle" / "decoder")).convert(str(folder / "ctranslate2"))


def ctranslate2(folder: Path, rows: Rows, precision: str) -> Stages:
    """CTranslate2, the start that all prompts share read once."""
    from ctranslate2 import Generator

    tokenizer = AutoTokenizer.from_pretrained(folder / "bundle" / "decoder")
    threads = torch.get_num_threads()
    generator = Generator(str(folder / "ctranslate2"), intra_threads=threads, compute_type=precision)
    prompts = [tokenizer.convert_ids_to_tokens(ids) for ids in rows["ids"]]
    start = rows["start_tokens"]

    def decode(part: slice, batch: int) -> list[str]:
        results = generator.generate_batch(
            [prompt[start:] for prompt in prompts[part]],
            static_prompt=prompts[0][:start],
            max_length=rows["new_tokens"],
            max_batch_size=batch,
            sampling_topk=1,
            include_prompt_in_result=False,
            end_token=tokenizer.eos_token,
        )
        return [tokenizer.decode(result.sequences_ids[0], skip_special_tokens=True) for result in results]

    return {"decoder": decode}


def convert_for_openvino(folder: Path, weights: str) -> None:
    """Weights in "fp32", also for bfloat16, or "int8"."""
    if (folder / f"openvino-{weights}").exists():
        return
    command = [os.environ["OPTIMUM_PYTHON"], "-m", "optimum.commands.optimum_cli", "export", "openvino"]
    model = ["--model", folder / "bundle" / "decoder", "--task", "text-generation-with-past"]
    subprocess.run([*command, *model, "--weight-format", weights, folder / f"openvino-{weights}"], check=True)


def openvino_genai(folder: Path, rows: Rows, precision: str, weights: str) -> Stages:
    """OpenVINO GenAI."""
    from openvino import Tensor
    from openvino_genai import ContinuousBatchingPipeline, GenerationConfig, SchedulerConfig

    if precision == "bfloat16":
        need_bfloat16()
    tokenizer = AutoTokenizer.from_pretrained(folder / "bundle" / "decoder")
    scheduler = SchedulerConfig()
    scheduler.enable_prefix_caching = False  # repeated runs would find all prompts read
    hints = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), **OPENVINO[precision]}
    pipe = ContinuousBatchingPipeline(str(folder / f"openvino-{weights}"), scheduler, "CPU", hints)
    prompts = [Tensor(np.array([ids])) for ids in rows["ids"]]
    greedy = GenerationConfig(
        max_new_tokens=rows["new_tokens"], do_sample=False, eos_token_id=int(str(tokenizer.eos_token_id))
    )

    def decode(part: slice, batch: int) -> list[str]:
        written = []
        for own in in_batches(part, batch, len(prompts)):
            written += pipe.generate(prompts[own], [greedy] * len(prompts[own]))
        return [tokenizer.decode(result.m_generation_ids[0], skip_special_tokens=True) for result in written]

    return {"decoder": decode}


def convert_for_onnxruntime(folder: Path, precision: str) -> None:
    """Its own builder's graph, with logits of a prompt's last token alone."""
    import onnxruntime_genai

    og: Any = onnxruntime_genai
    source, built = folder / "bundle" / "decoder", folder / f"genai-{precision}"
    builder = Path(og.__file__).parent / "models" / "builder.py"
    command = [sys.executable, builder, "-i", source, "-o", built, "-c", folder / "cache", "-p", precision, "-e", "cpu"]
    subprocess.run([*command, "--extra_options", "prune_lm_head=true"], check=True, stdout=subprocess.DEVNULL)


def onnxruntime_genai(folder: Path, rows: Rows, precision: str) -> Stages:
    """ONNX Runtime GenAI, row by row.

    Batches are slower: padding has to be on the right, and then all logits of a prompt have to be computed.
    """
    import onnxruntime_genai

    og: Any = onnxruntime_genai
    config = og.Config(str(folder / f"genai-{precision}"))
    tokenizer = AutoTokenizer.from_pretrained(folder / "bundle" / "decoder")
    threads = {"session_options": {"intra_op_num_threads": torch.get_num_threads()}}
    config.overlay(json.dumps({"model": {"decoder": threads}}))
    model = og.Model(config)

    def write(ids: list[int]) -> str:
        params = og.GeneratorParams(model)
        params.set_search_options(do_sample=False, max_length=len(ids) + rows["new_tokens"])
        generator = og.Generator(model, params)
        generator.append_tokens(np.array([ids], np.int32))
        while not generator.is_done():
            generator.generate_next_token()
        return tokenizer.decode(generator.get_sequence(0)[len(ids) :], skip_special_tokens=True)

    return {"decoder": lambda part, _: [write(ids) for ids in rows["ids"][part]]}


PEERS = {
    f"CTranslate2 {precision}": Arm(
        partial(ctranslate2, precision=precision), convert_for_ctranslate2, BATCHES, ("ctranslate2",)
    )
    for precision in ("float32", "bfloat16", "int8")
}
PEERS |= {
    f"OpenVINO GenAI {precision}": Arm(
        partial(openvino_genai, precision=precision, weights=weights),
        partial(convert_for_openvino, weights=weights),
        BATCHES,
        ("openvino_genai",),
    )
    for precision, weights in (("float32", "fp32"), ("bfloat16", "fp32"), ("int8", "int8"))
}
PEERS |= {
    f"ONNX Runtime GenAI {precision}": Arm(
        partial(onnxruntime_genai, precision=precision),
        partial(convert_for_onnxruntime, precision=precision),
        libraries=("onnxruntime_genai",),
    )
    for precision in ("fp32", "int8")
}
