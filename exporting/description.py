"""Describes what a runtime needs besides the weights: topics, prompt, priors, calibration. Knows no format.

Knows both stages; gives plain values for JSON.
"""

from importlib.metadata import version
from typing import Any

from ..decoder import FAIRNESS_TOKEN, TopicDecoder, topic_token
from ..pipeline import HybridPipeline

FORMAT = 1


def describe(system: HybridPipeline, stages: tuple[str, ...]) -> dict[str, Any]:
    """The description of an exported system, fit for JSON."""
    parts: dict[str, Any] = {"format": FORMAT, "unskew": version("unskew")}
    if "encoder" in stages:
        parts["encoder"] = _encoder(system)
    if "decoder" in stages and system.decoder is not None:
        parts["decoder"] = _decoder(system.decoder)
    return parts


def _encoder(system: HybridPipeline) -> dict[str, Any]:
    stored = system.corrector.to_dict()
    stored.pop("held_out")
    topics = stored.pop("topics")
    return {
        "topics": topics["names"],
        "training_rows": topics["counts"],
        "training_prior": list(system.topics.prior),
        "max_tokens": system.encoder.max_tokens,
        **stored,
        "decision": stored.get("decision"),
    }


def _decoder(decoder: TopicDecoder) -> dict[str, Any]:
    sequencer, control, tokenizer = decoder.sequencer, decoder.control, decoder.tokenizer
    return {
        "topics": {name: sequencer.topic_tokens(name) for name in decoder.topics},
        "topic_tokens": {
            topic_token(name): number for name, number in zip(control.topics, control.topic_ids, strict=True)
        },
        "fairness_token": {FAIRNESS_TOKEN: control.fairness_id},
        "condition": decoder.condition,
        "prompt": {"before": decoder.prompt.before, "after": decoder.prompt.after},
        "before": sequencer.prefix,
        "after": sequencer.after_text,
        "text_tokens": sequencer.room,
        "max_new_tokens": decoder.max_target_tokens + 1,
        "end_token": {str(tokenizer.eos_token): tokenizer.eos_token_id},
        "never_written": decoder.never_written,
    }
