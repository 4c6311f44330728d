from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from unskew.balance.losses import LossSettings, make_loss
from unskew.decoder import ControlTokens
from unskew.decoder.base import load_model, load_tokenizer
from unskew.decoder.control import make_rows
from unskew.decoder.data import NO_TOPIC, DecoderData, Rows
from unskew.decoder.module import DecoderModule
from unskew.decoder.prompts import Prompt
from unskew.decoder.sequences import Sequencer
from unskew.training import PhaseSettings


@pytest.fixture
def parts(shared_base, records, topics):
    model, tokenizer = load_model(shared_base), load_tokenizer(shared_base)
    control = ControlTokens.add(tokenizer, topics.names)
    make_rows(model, tokenizer, control, new=control.ids)
    sequencer = Sequencer(tokenizer, control, Prompt("Text: ", "\n"), 64)
    rows = Rows.from_records(records, sequencer, control, topics, 12)
    strangers = [replace(record, topic=topic) for record, topic in zip(records, [None, "gas"] * 12, strict=True)]
    untopical = Rows.from_records(strangers, sequencer, control, topics, 12)
    return SimpleNamespace(model=model, control=control, rows=rows, untopical=untopical, tokenizer=tokenizer)


def loader(parts, rows, tokens=200):
    data = DecoderData(rows, rows, pad_id=parts.tokenizer.pad_token_id, tokens_per_batch=tokens, seed=0)
    return data, list(data.train_dataloader())


def module(parts, loss=None):
    return DecoderModule(parts.model, PhaseSettings(), parts.control.topic_ids, loss)


def total_loss(parts, rows, tokens, loss=None):
    data, batches = loader(parts, rows, tokens)
    trained = module(parts, loss)
    trained.log = lambda *_, **__: None
    trained._trainer = SimpleNamespace(datamodule=data)  # pyright: ignore[reportAttributeAccessIssue]
    type(trained).trainer = property(lambda self: self._trainer)
    try:
        return sum(trained.training_step(batch, 0).item() for batch in batches) / len(batches)
    finally:
        del type(trained).trainer


def test_rows_hold_the_topic_before_the_target(parts, records, topics):
    for ids, written, topic, record in zip(
        parts.rows.tokens, parts.rows.written, parts.rows.topics, records, strict=True
    ):
        assert ids[-written - 1] == parts.control.topic_ids[topics.index(record.topic)]
        assert topic == topics.index(record.topic)
        assert ids[-1] == parts.tokenizer.eos_token_id
        assert parts.tokenizer.decode(ids[-written:-1]).strip() == record.target
    assert set(parts.untopical.topics) == {NO_TOPIC}
    assert not any(set(parts.control.ids) & set(ids.tolist()) for ids in parts.untopical.tokens)


@pytest.mark.parametrize("which", ["rows", "untopical"])
def test_the_loss_is_the_mean_over_target_tokens_however_batched(parts, which):
    rows = getattr(parts, which)
    summed = 0.0
    for ids, written in zip(rows.tokens, rows.written, strict=True):
        ids = torch.tensor(ids[None].astype("int64"))
        labels = ids.clone()
        labels[:, : ids.shape[1] - written] = -100
        summed += parts.model(input_ids=ids, labels=labels).loss.item() * written
    mean = summed / sum(rows.written)
    assert total_loss(parts, rows, 200) == pytest.approx(mean, rel=1e-4)
    assert total_loss(parts, rows, 10_000) == pytest.approx(mean, rel=1e-4)


def test_the_topic_loss_is_balanced_and_over_topic_tokens_alone(parts, topics):
    plain = total_loss(parts, parts.rows, 200)
    loss = make_loss(LossSettings(weights="balanced"), topics.counts)
    expected = 0.0
    weights = [sum(topics.counts) / (len(topics) * count) for count in topics.counts]
    for ids, written, topic in zip(parts.rows.tokens, parts.rows.written, parts.rows.topics, strict=True):
        before = torch.tensor(ids[None, : -written - 1].astype("int64"))
        logits = parts.model(input_ids=before).logits[:, -1, list(parts.control.topic_ids)]
        expected += weights[topic] * F.cross_entropy(logits, torch.tensor([topic])).item()
    expected /= len(parts.rows)
    for tokens in (200, 10_000):
        assert total_loss(parts, parts.rows, tokens, loss) - plain == pytest.approx(expected, rel=1e-3)


def test_exact_counts_rows_that_greedy_generation_gets_right(parts):
    _, batches = loader(parts, parts.rows)
    trained = module(parts)
    logged = {}
    trained._log_mean = lambda name, value, weight: logged.update({name: value.item()})
    seen = trained.predict_batch(batches[0])
    sure = F.one_hot(seen.targets, seen.written.shape[1]).float()
    sure[seen.rows == 1] = 0.0
    trained.predict_batch = lambda batch: type(seen)(sure, seen.targets, seen.rows, seen.topics)
    trained.validation_step(batches[0], 0)
    assert logged["exact"] == pytest.approx(1 - 1 / len(batches[0]["written"]))
