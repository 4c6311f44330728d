"""Merges an adapter's file into a base without building PEFT's layers: the result of PEFT's merge, but faster.

Knows plain LoRA on linear layers and rows of embeddings, as unskew writes them; everything else is left to PEFT.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel

FILE = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_PARTS = (".lora_A.weight", ".lora_B.weight")
_ROWS = ".token_adapter.trainable_tokens_delta"
# Settings of PEFT that do not change a merged weight, or that are read here. All others must be unset.
_READ = {
    "base_model_name_or_path",
    "bias",
    "inference_mode",
    "init_lora_weights",
    "lora_alpha",
    "lora_dropout",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "revision",
    "target_modules",
    "task_type",
    "trainable_token_indices",
}


def merge_file(model: PreTrainedModel, folder: Path, config: Mapping[str, Any]) -> bool:
    """Add an adapter to a model in place, or change nothing and return False if it is not plain LoRA.

    A layer's weight becomes W + (alpha / r) B A (Hu et al. 2021, arXiv:2106.09685, section 4.1), and rows of embeddings
    are replaced.

    Args:
        model: Base in float32 on the CPU, with a row for every token.
        folder: Folder of the adapter.
        config: Contents of its adapter_config.json.

    Raises:
        Exception: If the file is missing or damaged; any kind of exception.
    """
    if not _is_plain(config):
        return False
    found = {name.removeprefix(_PREFIX): value for name, value in load_file(folder / FILE).items()}
    rows: dict[str, list[int]] = config.get("trainable_token_indices") or {}
    modules = dict(model.named_modules())
    layers = {name.rpartition(".lora_")[0] for name in found if ".lora_" in name}
    expected = {f"{name}{part}" for name in layers for part in _PARTS} | {f"{name}{_ROWS}" for name in rows}
    linear = all(type(modules.get(name)) is nn.Linear and _targeted(name, config) for name in layers)
    if set(found) != expected or not linear or not rows.keys() <= modules.keys():
        return False
    scale = config["lora_alpha"] / config["r"]
    with torch.no_grad():
        for name in layers:
            down, up = (found[f"{name}{part}"] for part in _PARTS)
            weight: Any = modules[name].weight
            if (*up.shape, *down.shape) != (weight.shape[0], config["r"], config["r"], weight.shape[1]):
                raise ValueError(f"the change of {name} has another shape than its weight")
            weight += (up @ down) * scale
        for name, ids in rows.items():
            embedding: Any = modules[name].weight
            embedding.index_copy_(0, torch.tensor(ids), found[f"{name}{_ROWS}"])
    return True


def _is_plain(config: Mapping[str, Any]) -> bool:
    known = config.get("bias", "none") == "none" and config.get("init_lora_weights", True) is True
    named = isinstance(config.get("trainable_token_indices"), dict | None)
    return known and named and not any(value for name, value in config.items() if name not in _READ)


def _targeted(name: str, config: Mapping[str, Any]) -> bool:
    """Whether PEFT would adapt this layer, because its name or the end of its name is listed."""
    return any(name == listed or name.endswith(f".{listed}") for listed in config["target_modules"])
