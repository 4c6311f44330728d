"""The folder of a fitted decoder, in the layout of PEFT (adapter) or transformers (plain model).

    decoder.json             topics, prompt, limits and facts about the training
    adapter_config.json, adapter_model.safetensors     an adapter; its config names the base
    base/                    the base, only if it was trained here; the config then says "base"
    config.json, model.safetensors                     instead of the adapter: a plain model
    tokenizer files          with the control tokens

Knows files and PEFT; knows no training.
"""

import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from peft import PeftModel
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ..common import UserError, first_line
from ..runtime import check_finite
from .adaptation import Model, TrainableParameters
from .adaptation import merge as merge_adapter
from .adapter_file import merge_file
from .base import drop_generation_settings, load_config, load_model, load_tokenizer
from .control import ControlTokens, make_rows
from .prompts import Prompt
from .settings import Condition

if TYPE_CHECKING:
    from .topic_decoder import TopicDecoder

_FACTS = "decoder.json"
_OWN_BASE = "base"


def save(decoder: "TopicDecoder", folder: Path) -> None:
    """Write a decoder; files of another decoder in the folder are overwritten.

    Raises:
        UserError: If the folder of a base that was trained here is gone, or a weight is not finite.
    """
    check_finite(decoder.model, "the decoder cannot be saved", "fit again with a smaller learning rate")
    folder.mkdir(parents=True, exist_ok=True)
    decoder.tokenizer.save_pretrained(folder)
    if isinstance(decoder.model, PeftModel):
        _save_adapter(decoder, decoder.model, folder)
    else:
        save_plain(decoder.model, folder)
    described = {
        "topics": list(decoder.topics),
        "prompt": asdict(decoder.prompt),
        "max_tokens": decoder.max_tokens,
        "max_target_tokens": decoder.max_target_tokens,
        "condition": decoder.condition,
        "unguided": decoder.unguided,
        "fairness": decoder.fairness,
        "facts": None if decoder.facts is None else asdict(decoder.facts),
    }
    (folder / _FACTS).write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def save_plain(model: PreTrainedModel, folder: Path) -> None:
    """Write a model in transformers' layout, without its base's generation settings (sampling, lengths)."""
    drop_generation_settings(model)
    model.save_pretrained(folder)


@dataclass(frozen=True)
class Parts:
    """The contents of a decoder's folder, as the arguments of `TopicDecoder`."""

    model: Model
    tokenizer: PreTrainedTokenizerBase
    control: ControlTokens
    prompt: Prompt
    max_tokens: int
    max_target_tokens: int
    condition: Condition
    facts: TrainableParameters | None
    unguided: bool = False
    fairness: bool = False
    base: str | Path | None = None
    base_is_ours: bool = False


def load(folder: Path, *, merge: bool) -> Parts:
    """Read a decoder's parts, with weights in float32 on the CPU."""
    with _explained(folder):
        described = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        prompt, topics = Prompt(**described["prompt"]), tuple(described["topics"])
        facts = TrainableParameters(**described["facts"]) if described["facts"] else None
        condition = described.get("condition", "token")  # decoders of version 0.1.0 lack it
        unguided = bool(described.get("unguided", False))
        fairness = bool(described.get("fairness", True))  # earlier decoders do not say
        max_tokens, max_target_tokens = int(described["max_tokens"]), int(described["max_target_tokens"])
    tokenizer = load_tokenizer(folder)
    control = ControlTokens.add(tokenizer, topics)
    is_adapter = (folder / "adapter_config.json").exists()
    model, base = _load_adapter(folder, tokenizer, control, merge) if is_adapter else (load_model(folder), None)
    if merge:
        base = None
    ours = base == folder / _OWN_BASE
    return Parts(
        model,
        tokenizer,
        control,
        prompt,
        max_tokens,
        max_target_tokens,
        condition,
        facts,
        unguided,
        fairness,
        base,
        ours,
    )


def load_base_config(folder: Path) -> PreTrainedConfig:
    """The configuration of a decoder's model, or of its adapter's base; loads no weights.

    Raises:
        UserError: If it is missing or unreadable.
    """
    adapter = folder / "adapter_config.json"
    if not adapter.exists():
        return load_config(folder)
    with _explained(folder):
        reference = json.loads(adapter.read_text(encoding="utf-8"))["base_model_name_or_path"]
    return load_config(folder / _OWN_BASE if reference == _OWN_BASE else reference)


def _save_adapter(decoder: "TopicDecoder", model: PeftModel, folder: Path) -> None:
    # save_embedding_layers=False: after a resize PEFT would add the whole embedding to the adapter.
    model.save_pretrained(str(folder), save_embedding_layers=False)
    base = str(decoder.base)
    if decoder.base_is_ours:
        _copy_base(Path(base), folder / _OWN_BASE)
        base = _OWN_BASE
    elif Path(base).is_dir():
        base = str(Path(base).resolve())
    config_file = folder / "adapter_config.json"
    config = json.loads(config_file.read_text(encoding="utf-8"))
    # PEFT keeps names in a set, whose order differs from process to process.
    config |= {"base_model_name_or_path": base, "target_modules": sorted(config["target_modules"])}
    config_file.write_text(json.dumps(config, indent=2), encoding="utf-8")


def _copy_base(source: Path, destination: Path) -> None:
    if source.resolve() == destination.resolve():
        return
    if not source.is_dir():
        raise UserError(f"the decoder's base {source} is missing; restore it, or fit or load the decoder again")
    shutil.copytree(source, destination, dirs_exist_ok=True)


def _load_adapter(
    folder: Path, tokenizer: PreTrainedTokenizerBase, control: ControlTokens, merge: bool
) -> tuple[Model, str | Path]:
    """The adapted model, a plain one with `merge`, and the reference of its base."""
    with _explained(folder):
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        reference = config["base_model_name_or_path"]
    ours = reference == _OWN_BASE
    base = folder / _OWN_BASE if ours else reference
    try:
        model = load_model(base)
    except UserError as error:
        remedy = (
            f"restore the folder {base} from a copy, or fit again"
            if ours
            else f"restore the base, or set base_model_name_or_path in {folder}/adapter_config.json to its new place"
        )
        raise UserError(f"the decoder in {folder} needs its base {str(base)!r} ({error}); {remedy}") from error
    if not ours:
        make_rows(model, tokenizer, control, new=control.ids)
    with _explained(folder):
        adapted: Model = model
        if not (merge and merge_file(model, folder, config)):
            adapted = PeftModel.from_pretrained(model, str(folder))
            adapted = merge_adapter(adapted) if merge else adapted
    check_finite(adapted, f"the decoder folder {folder}", "restore it from a copy, or fit again")
    return adapted, base


@contextmanager
def _explained(folder: Path) -> Generator[None]:
    try:
        yield
    except Exception as error:
        raise UserError(
            f"the decoder folder {folder} is incomplete or damaged ({first_line(error)}); "
            "restore it from a copy, or fit again"
        ) from error
