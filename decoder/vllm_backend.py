"""Generates after many prompts with vLLM (extra `vllm`). Knows token ids and plain models; no texts, no topics.

vLLM batches continuously, pages keys and values, caches common prefixes, and on a GPU replays captured graphs. It runs
in this process on the first visible GPU, and allocates its memory when it is loaded. Its builds for a CPU work too, for
greedy outputs.
"""

import os
from collections.abc import Sequence
from importlib.metadata import packages_distributions, version
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, get_args

import torch
from transformers import PreTrainedModel

from ..common import UserError, first_line
from ..runtime import Precision
from .saving import save_plain
from .settings import Backend, GenerationSettings

GPU_MEMORY = 0.8  # share of the device's memory; the rest is for the encoder
LEAST_OUTPUT = 512  # tokens of an output that are always possible, however short the targets of training were


def check_backend(backend: Backend, precision: Precision, device: torch.device) -> str:
    """The backend's name, with its version unless it is torch.

    Raises:
        UserError: If there is no such backend, vLLM is not installed, or it does not support the precision or the
            device.
    """
    if backend not in get_args(Backend):
        raise UserError(f"backend is {backend!r}; give one of {', '.join(get_args(Backend))}")
    if backend == "torch":
        return backend
    if precision == "int8":
        raise UserError("backend vllm has no precision int8; give float32 or bfloat16, or backend torch")
    if device.index or (device.type == "cpu" and torch.cuda.is_available()):
        raise UserError(
            f"backend vllm runs on the first visible GPU, not on {device}; give device cuda, select the GPU with "
            "CUDA_VISIBLE_DEVICES, or give backend torch"
        )
    for name in packages_distributions().get("vllm", ()):  # builds for a CPU have other names
        return f"{name} {version(name)}"
    raise UserError('backend vllm needs vLLM and a GPU; pip install "unskew[vllm]", or give backend torch')


class VllmBackend:
    """A model in vLLM. Loading it sets environment variables of this process, and vLLM sets its random state.

    Args:
        model: Plain causal language model; it is copied through a temporary folder.
        longest: Tokens of the longest prompt.
        longest_output: Tokens of the longest usual output.

    Raises:
        UserError: If vLLM cannot load the model.
    """

    def __init__(self, model: PreTrainedModel, longest: int, longest_output: int) -> None:
        # In this process, because a child process would run the user's script again if it has no main guard.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # it logs a hundred lines while it loads
        self._longest = longest + max(longest_output, LEAST_OUTPUT)
        self._writing = Lock()  # vLLM would mix the requests of two threads
        if positions := getattr(model.config, "max_position_embeddings", None):
            self._longest = min(self._longest, positions)
        with TemporaryDirectory(prefix="unskew-vllm-") as folder:
            try:
                save_plain(model, Path(folder))
                from vllm import LLM  # pyright: ignore[reportMissingImports]

                self._llm: Any = LLM(
                    folder,
                    skip_tokenizer_init=True,
                    dtype=str(model.dtype).removeprefix("torch."),
                    max_model_len=self._longest,
                    gpu_memory_utilization=GPU_MEMORY,
                    enable_prefix_caching=True,
                )
            except Exception as error:  # of any kind: an unknown architecture, too little memory, a missing library
                why = first_line(error)
                raise UserError(f"vLLM cannot load the decoder ({why}); give backend torch") from error

    def write(
        self,
        rows: Sequence[Sequence[int]],
        row_seeds: Sequence[int],
        options: GenerationSettings,
        suppressed: Sequence[int],
        end_id: int,
    ) -> list[list[int]]:
        """The generated tokens after each row.

        Args:
            rows: Token ids of the prompts.
            row_seeds: Random seeds of the rows, so that an output does not depend on other rows.
            options: Options of generation; `max_new_tokens` is the limit.
            suppressed: Ids that are never chosen.
            end_id: Id of the token that ends an output.

        Raises:
            UserError: If a row and its output are longer than the loaded model allows, or sampling is requested on a
                CPU.
        """
        from vllm import SamplingParams  # pyright: ignore[reportMissingImports]

        limit = int(options.max_new_tokens or 0)
        if (needed := max(map(len, rows)) + limit) > self._longest:
            raise UserError(
                f"prompt and output take {needed} tokens, but vLLM has room for {self._longest}; reduce max_new_tokens"
            )
        if options.sample and not torch.cuda.is_available():
            raise UserError("vLLM's samples on a CPU are not reproducible; give backend torch, or set sample to false")
        shared: dict[str, Any] = {
            "max_tokens": limit,
            "stop_token_ids": [end_id],
            "ignore_eos": True,  # further end tokens of the base: outputs end as in training
            "logit_bias": dict.fromkeys(suppressed, float("-inf")),
            "temperature": options.temperature if options.sample else 0.0,
            "top_p": options.top_p if options.sample else 1.0,
            "detokenize": False,
        }
        asked = [SamplingParams(**shared, seed=key if options.sample else None) for key in row_seeds]
        prompts = [{"prompt_token_ids": list(row)} for row in rows]
        with self._writing:
            written = self._llm.generate(prompts, asked, use_tqdm=False)
        return [list(done.outputs[0].token_ids) for done in written]
