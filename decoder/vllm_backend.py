"""Writes after many prompts with vLLM (extra `vllm`). Knows token ids and plain models; no texts, no topics.

vLLM batches continuously, pages keys and values, keeps what prompts begin with, and on a GPU replays captured graphs.
It runs in this process, on the first GPU that this sees, and takes its memory when it is loaded. Builds of it for a CPU
serve too, for greedy outputs.
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

GPU_MEMORY = 0.8  # of the device's: the rest is the encoder's
LEAST_OUTPUT = 512  # tokens that an output may have, however short the targets of training were


def check_backend(backend: Backend, precision: Precision, device: torch.device) -> str:
    """The backend's name, with its version where it is not torch.

    Raises:
        UserError: If there is no such backend, vLLM is not installed, or it does not run in this precision or there.
    """
    if backend not in get_args(Backend):
        raise UserError(f"backend is {backend!r}; give one of {', '.join(get_args(Backend))}")
    if backend == "torch":
        return backend
    if precision == "int8":
        raise UserError("backend vllm has no precision int8; give float32 or bfloat16, or leave it as torch")
    if device.index or (device.type == "cpu" and torch.cuda.is_available()):
        raise UserError(
            f"backend vllm runs on the first GPU that is seen, not on {device}; give device cuda, and another GPU by "
            "CUDA_VISIBLE_DEVICES, or leave backend as torch"
        )
    for name in packages_distributions().get("vllm", ()):  # builds for a CPU have other names
        return f"{name} {version(name)}"
    raise UserError('backend vllm needs vLLM; pip install "unskew[vllm]" where there is a GPU, or leave it as torch')


class VllmBackend:
    """A model in vLLM. Loading it sets vLLM's environment variables, and by vLLM the random state, of this process.

    Args:
        model: A plain causal language model; copied by way of a temporary folder.
        longest: Tokens of the longest prompt.
        longest_output: Tokens of the longest output that is usually asked for.

    Raises:
        UserError: If vLLM cannot load the model.
    """

    def __init__(self, model: PreTrainedModel, longest: int, longest_output: int) -> None:
        # In this process: a child would start the user's script again where that has no main guard.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # it says a hundred lines while it loads
        self._longest = longest + max(longest_output, LEAST_OUTPUT)
        self._writing = Lock()  # vLLM would mix what two threads ask of it
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
            except Exception as error:  # of many kinds: an unknown architecture, too little memory, a missing library
                why = first_line(error)
                raise UserError(f"vLLM cannot load the decoder ({why}); leave backend as torch") from error

    def write(
        self,
        rows: Sequence[Sequence[int]],
        row_seeds: Sequence[int],
        options: GenerationSettings,
        suppressed: Sequence[int],
        end_id: int,
    ) -> list[list[int]]:
        """What is written after each row.

        Args:
            rows: Token ids.
            row_seeds: Seeds of the rows' samples, so that these do not depend on what else is written.
            options: Greedy or sampling, and how; `max_new_tokens` is the limit.
            suppressed: Ids that are never chosen.
            end_id: Ends an output.

        Raises:
            UserError: If a row and its output are longer than the model was loaded for, or samples are asked of a CPU.
        """
        from vllm import SamplingParams  # pyright: ignore[reportMissingImports]

        limit = int(options.max_new_tokens or 0)
        if (needed := max(map(len, rows)) + limit) > self._longest:
            raise UserError(f"prompt and output take {needed} tokens, vLLM has room for {self._longest}; ask for fewer")
        if options.sample and not torch.cuda.is_available():
            raise UserError("vLLM's samples on a CPU cannot be repeated; leave backend as torch, or sample as false")
        shared: dict[str, Any] = {
            "max_tokens": limit,
            "stop_token_ids": [end_id],
            "ignore_eos": True,  # those that the base names: outputs end as they were learnt
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
