"""The inputs of a run that change its weights, in a form to fingerprint.

Knows the files of a base and the trainer options that matter; knows neither stage.
"""

import json
import re
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from ..common import file_fingerprint

# Patterns of the files that are read from a base.
_READ = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", "1_Pooling/config.json")
# A fit may resume with these changed: where it runs, and what logs it.
_FREE = frozenset({"accelerator", "devices", "strategy", "num_nodes", "callbacks", "logger"})


def base_contents(base: str | None) -> str | None:
    """64 hex digits over a local base's settings, tokenizer, weights and declared pooling.

    None without a base, or for one on the hub.

    Raises:
        UserError: If a file of the folder cannot be read.
    """
    if base is None or not Path(base).is_dir():
        return None
    return file_fingerprint(sorted(chain.from_iterable(Path(base).glob(pattern) for pattern in _READ)))


def tokenizer_contents(tokenizer: Any) -> str:
    """A tokenizer's vocabulary and settings as JSON; only the vocabulary of a tokenizer written in Python."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return json.dumps(tokenizer.get_vocab(), sort_keys=True) if backend is None else backend.to_str()


def trainer_choices(trainer: Mapping[str, Any]) -> dict[str, str]:
    """The `lightning.Trainer` arguments that change a run's weights, each as a text that is the same in every run."""
    return {
        name: json.dumps(value, sort_keys=True, default=_text) for name, value in trainer.items() if name not in _FREE
    }


def plain_arguments(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The `lightning.Trainer` arguments that a file or a command line can hold: those that are no objects."""
    return {name: value for name, value in trainer.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def _text(value: Any) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))  # an object's address differs from run to run
