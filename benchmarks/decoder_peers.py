"""Arms of `throughput.py` for the decoder in compiled runtimes: CTranslate2, OpenVINO GenAI and ONNX Runtime GenAI.

They are installed by `pip install --no-deps ctranslate2 openvino-genai openvino-tokenizers onnxruntime-genai`, and
convert the bundle's plain model when an arm starts, which is not timed.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from transformers import AutoTokenizer

from unskew.exporting.gguf_format import write_gguf

Decode = Callable[..., list[str]]  # by rows in a batch and, if not all, number of rows
Run = Callable[[], list[str]]


def ctranslate2(folder: Path, rows: dict[str, Any], precision: str) -> Decode:
    """CTranslate2 computing in "float32", "bfloat16" or "int8", the start that all prompts share read once."""
    from ctranslate2 import Generator
    from ctranslate2.converters import TransformersConverter

    tokenizer = AutoTokenizer.from_pretrained(folder / "bundle" / "decoder")
    converted = folder / f"ctranslate2-{precision}"
    TransformersConverter(str(folder / "bundle" / "decoder")).convert(str(converted), force=True)
    generator = Generator(str(converted), intra_threads=torch.get_num_threads(), compute_type=precision)
    prompts = [tokenizer.convert_ids_to_tokens(ids) for ids in rows["ids"]]
    shared = os.path.commonprefix(prompts)

    def decode(batch: int, count: int | None = None) -> list[str]:
        results = generator.generate_batch(
            [prompt[len(shared) :] for prompt in prompts[:count]],
            static_prompt=shared,
            max_length=rows["new_tokens"],
            max_batch_size=batch,
            sampling_topk=1,
            include_prompt_in_result=False,
            end_token=tokenizer.eos_token,
        )
        return [tokenizer.decode(result.sequences_ids[0], skip_special_tokens=True) for result in results]

    return decode


def openvino_genai(folder: Path, rows: dict[str, Any], precision: str) -> Decode:
    """OpenVINO GenAI computing in "f32" or "bf16", from weights in float16, as it cannot read float32 from GGUF."""
    from gguf import GGUFWriter
    from openvino_genai import GenerationConfig, LLMPipeline, SchedulerConfig

    plain, described = GGUFWriter.add_tensor, {"condition": "token", "prompt": {"before": "", "after": ""}}

    def halved(writer: Any, name: str, values: np.ndarray) -> None:
        plain(writer, name, values.astype(np.float16) if values.ndim > 1 else values)

    with patch.object(GGUFWriter, "add_tensor", halved):
        write_gguf(folder / "bundle" / "decoder", {"decoder": described}, folder / "half.gguf")
    hints = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": precision}
    scheduler = SchedulerConfig()
    scheduler.enable_prefix_caching = False  # repeated runs would find all prompts read
    pipe = LLMPipeline(str(folder / "half.gguf"), "CPU", scheduler_config=scheduler, **hints)
    greedy = GenerationConfig(max_new_tokens=rows["new_tokens"], do_sample=False, apply_chat_template=False)

    def decode(batch: int, count: int | None = None) -> list[str]:
        prompts = rows["prompts"][:count]
        parts = [prompts[start : start + batch] for start in range(0, len(prompts), batch)]
        return [text for part in parts for text in pipe.generate(part, greedy).texts]

    return decode


def onnxruntime_genai(folder: Path, rows: dict[str, Any], precision: str) -> Run:
    """ONNX Runtime GenAI, built for "fp32" or "int8", row by row.

    Batches are slower: padding has to be on the right, and then all logits of a prompt have to be computed.
    """
    import onnxruntime_genai

    og: Any = onnxruntime_genai
    source, built = folder / "bundle" / "decoder", folder / f"genai-{precision}"
    builder = Path(og.__file__).parent / "models" / "builder.py"
    command = [sys.executable, builder, "-i", source, "-o", built, "-c", folder / "cache", "-p", precision, "-e", "cpu"]
    subprocess.run([*command, "--extra_options", "prune_lm_head=true"], check=True, stdout=subprocess.DEVNULL)
    config, tokenizer = og.Config(str(built)), AutoTokenizer.from_pretrained(source)
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

    return lambda: [write(ids) for ids in rows["ids"]]


PEERS = {
    f"CTranslate2 {precision}": partial(ctranslate2, precision=precision)
    for precision in ("float32", "bfloat16", "int8")
}
PEERS |= {f"OpenVINO GenAI {precision}": partial(openvino_genai, precision=precision) for precision in ("f32", "bf16")}
ROW_BY_ROW = {
    f"ONNX Runtime GenAI {precision}": partial(onnxruntime_genai, precision=precision) for precision in ("fp32", "int8")
}
