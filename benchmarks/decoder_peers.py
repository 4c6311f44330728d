"""Arms of `throughput.py` for the decoder in compiled runtimes: CTranslate2 and OpenVINO GenAI.

They are installed by `pip install --no-deps ctranslate2 openvino-genai openvino-tokenizers`, and convert the bundle's
plain model when an arm starts, which is not timed.
"""

import os
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


PEERS = {
    f"CTranslate2 {precision}": partial(ctranslate2, precision=precision)
    for precision in ("float32", "bfloat16", "int8")
}
PEERS |= {f"OpenVINO GenAI {precision}": partial(openvino_genai, precision=precision) for precision in ("f32", "bf16")}
