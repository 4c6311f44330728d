"""Fine-tunes a base with transformers' Trainer, as its guide to text classification does; an arm of `real.py`."""

from collections.abc import Sequence

import numpy as np
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments, set_seed


def train_and_predict(
    base: str,
    texts: Sequence[str],
    labels: Sequence[int],
    asked: Sequence[str],
    place: str,
    seed: int,
    epochs: int,
    rate: float,
    max_tokens: int,
) -> np.ndarray:
    """Logits (n, C) of the texts asked for, under the shares of the training rows; padding is dynamic."""
    set_seed(seed)  # the head is new
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(set(labels)))

    def tokens(texts: Sequence[str]) -> dict[str, list[list[int]]]:
        return dict(tokenizer(list(texts), truncation=True, max_length=max_tokens))

    given = TrainingArguments(
        place,
        num_train_epochs=epochs,
        learning_rate=rate,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=32,
        seed=seed,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
    )
    known = Dataset.from_dict({**tokens(texts), "label": list(labels)})
    trainer = Trainer(model, given, train_dataset=known, processing_class=tokenizer)
    trainer.train()
    return np.asarray(trainer.predict(Dataset.from_dict(tokens(asked))).predictions)  # pyright: ignore[reportArgumentType]
