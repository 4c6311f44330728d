"""What of a run's surroundings changes its weights, in a form that can be fingerprinted.

Knows what a base's folder holds and which trainer options matter; nothing of either stage.
"""

import json
import re
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from ..common import file_fingerprint

_READ = ("json", "safetensors", "jinja", "txt", "model")  # endings of the files that a base is read from
# A fit may go on with these changed: where it runs, and who watches.
_FREE = frozenset({"accelerator", "devices", "strategy", "num_nodes", "callbacks", "logger"})


def base_contents(base: str | None) -> str | None:
    """64 hex digits over a local base's settings, tokenizer and weights; None for no base or one of the hub.

    Raises:
        UserError: if a file of the folder cannot be read.
    """
    if base is None or not Path(base).is_dir():
        return None
    return file_fingerprint(sorted(chain.from_iterable(Path(base).glob(f"*.{ending}") for ending in _READ)))


def tokenizer_contents(tokenizer: Any) -> str:
    """All that a tokenizer has learnt and been set to, as JSON; of one written in Python its vocabulary."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return json.dumps(tokenizer.get_vocab(), sort_keys=True) if backend is None else backend.to_str()


def trainer_choices(trainer: Mapping[str, Any]) -> dict[str, str]:
    """The `lightning.Trainer` arguments that change a run's weights, each as a text that stays equal between runs."""
    return {
        name: json.dumps(value, sort_keys=True, default=_text) for name, value in trainer.items() if name not in _FREE
    }


def _text(value: Any) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))  # an object's address differs from run to run
