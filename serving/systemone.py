"""The `choice` question of System One over trained topics, as transformers' `serve` answers it at /v1/systemone.

The JSON is that of transformers 5.23 (`cli/serving/systemone.py`, `decision/template_utils.py`). A question's options
must be trained topics, all or some; probabilities are conditional on the topic being one of them.
"""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ..common import UserError
from ..pipeline import PredictOptions, Result, fault_of
from .systems import ServedSystem
from .ticket import Ask

MOST_QUESTIONS = 64


class SystemOneRequest(BaseModel):
    """A state with questions; only `choice` questions over trained topics are supported."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(None, description="Name of the system; by default the first one served.")
    state: str | dict[str, Any] | list[Any] = Field(description="The text; any other value is read as its JSON text.")
    questions: dict[str, dict[str, Any]] = Field(min_length=1, max_length=MOST_QUESTIONS)
    assets: dict[str, Any] = Field(default_factory=dict, description="Images, which are not supported; must be empty.")

    def ask(self, system: ServedSystem) -> Ask:
        """The request to a worker: every topic's probability for the state.

        Raises:
            UserError: If there is no text, half a character or an image, or a question is not a choice between trained
                topics.
        """
        text = self.state if isinstance(self.state, str) else json.dumps(self.state, ensure_ascii=False)
        if not text.strip():
            raise UserError("state is empty; give the text to decide about")
        if fault := fault_of(text):
            raise UserError(f"state {fault}")
        if self.assets:
            raise UserError("assets: this model reads no images; leave them out")
        for name, question in self.questions.items():
            _check(name, question, system)
        return Ask((text,), PredictOptions(top_k=len(system.pipeline.topics)), None, (None,), write=False)

    def answer(self, result: Result, system: ServedSystem) -> dict[str, Any]:
        """The response: an answer to each question, and the tokens read."""
        text = self.state if isinstance(self.state, str) else json.dumps(self.state, ensure_ascii=False)
        return {
            "model": self.model or system.name,
            "answers": {name: _choice(list(q["criteria"]), result) for name, q in self.questions.items()},
            "usage": {"input_tokens": system.pipeline.encoder.count_tokens([text])[0], "output_tokens": 0},
        }


def _check(name: str, question: dict[str, Any], system: ServedSystem) -> None:
    kind, criteria = question.get("type"), question.get("criteria")
    place = f"questions.{name}"
    if kind != "choice":
        raise UserError(f"{place}.type is {kind!r}; a topic classifier answers only choice")
    if unknown := set(question) - {"type", "criteria", "instructions"}:
        raise UserError(f"{place}: there is no {sorted(unknown)[0]!r} in a choice question")
    if not isinstance(criteria, dict) or not criteria:
        raise UserError(f"{place}.criteria must map topics to descriptions (or null)")
    for option in criteria:
        if option not in system.pipeline.topics:
            known = ", ".join(system.pipeline.topics.names[:20])
            raise UserError(f"{place}.criteria: {option!r} is not a trained topic; give one of {known}")


def _choice(options: list[str], result: Result) -> dict[str, Any]:
    """An answer; its confidence is the lead over chance, (p - 1/n) / (1 - 1/n), as in transformers."""
    total = sum(result.topics[option] for option in options)
    even = 1 / len(options)
    shares = {option: result.topics[option] / total if total else even for option in options}
    best = max(shares, key=lambda option: shares[option])
    confidence = 1.0 if len(options) == 1 else max(0.0, (shares[best] - even) / (1 - even))
    return {"type": "choice", "choice": best, "confidence": confidence, "probabilities": shares}
