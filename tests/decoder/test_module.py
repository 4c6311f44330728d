from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from unskew.balance import LossSettings, SampledRow, make_loss
from unskew.decoder import ControlTokens
from unskew.decoder.base import load_model, load_tokenizer
from unskew.decoder.control import make_rows
from unskew.decoder.data import NO_TOPIC, DecoderData, Rows
from unskew.decoder.module import DecoderModule
from unskew.decoder.prompts import Prompt
from unskew.decoder.sequences import Sequencer
from unskew.decoder.swaps import typical_tokens
from unskew.training import PhaseSettings


@pytest.fixture
def parts(shared_base, records, topics):
    model, tokenizer = load_model(shared_base), load_tokenizer(shared_base)
    control = ControlTokens.add(tokenizer, topics.names)
    make_rows(model, tokenizer, control, new=control.ids)
    sequencer = Sequencer(tokenizer, control, Prompt("Text: ", "\n"), 64)
    rows = Rows.from_records(records, sequencer, topics, 12)
    strangers = [replace(record, topic=topic) for record, topic in zip(records, [None, "gas"] * 12, strict=True)]
    untopical = Rows.from_records(strangers, sequencer, topics, 12)
    return SimpleNamespace(
        model=model, control=control, rows=rows, untopical=untopical, tokenizer=tokenizer, sequencer=sequencer
    )


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
    for ids, span, record in zip(parts.rows.tokens, parts.rows.texts, records, strict=True):
        assert parts.tokenizer.decode(ids[slice(*span)]).strip() == record.text
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


def test_the_topic_loss_is_balanced_among_topic_tokens_and_unweighted_for_being_one(parts, topics):
    plain = total_loss(parts, parts.rows, 200)
    loss = make_loss(LossSettings(weights="balanced"), topics.counts)
    expected = 0.0
    weights = [sum(topics.counts) / (len(topics) * count) for count in topics.counts]
    for ids, written, topic in zip(parts.rows.tokens, parts.rows.written, parts.rows.topics, strict=True):
        before = torch.tensor(ids[None, : -written - 1].astype("int64"))
        everything = parts.model(input_ids=before).logits[:, -1]
        logits = everything[:, list(parts.control.topic_ids)]
        expected += weights[topic] * F.cross_entropy(logits, torch.tensor([topic])).item()
        expected += (everything.logsumexp(dim=1) - logits.logsumexp(dim=1)).item()
    expected /= len(parts.rows)
    for tokens in (200, 10_000):
        assert total_loss(parts, parts.rows, tokens, loss) - plain == pytest.approx(expected, rel=1e-3)


def test_a_plain_topic_loss_is_the_cross_entropy_over_the_vocabulary(parts, topics):
    batch = loader(parts, parts.rows, 10_000)[1][0]
    trained = module(parts, make_loss(LossSettings(weights="none"), topics.counts))
    found = trained._topic_part(trained.predict_batch(batch), batch, len(parts.rows)).item()
    expected = 0.0
    for ids, written in zip(parts.rows.tokens, parts.rows.written, strict=True):
        whole = torch.tensor(ids[None].astype("int64"))
        labels = torch.full_like(whole, -100)
        labels[0, -written - 1] = whole[0, -written - 1]
        expected += parts.model(input_ids=whole, labels=labels).loss.item()
    assert found == pytest.approx(expected / len(parts.rows), rel=1e-4)


def test_rows_with_the_token_have_a_loss_of_their_own(parts, records, topics):
    fair = Rows.from_records(records, parts.sequencer, topics, 12, fairness=True)
    for own, plain, written in zip(fair.tokens, parts.rows.tokens, parts.rows.written, strict=True):
        place = len(plain) - written - 1
        assert own.tolist() == [*plain[:place], parts.control.fairness_id, *plain[place:]]
    losses = make_loss(LossSettings(weights="none"), topics.counts), make_loss(LossSettings(weights="none"), (1, 1))
    for kind, chosen in ((0, parts.rows), (1, fair)):
        batch = loader(parts, chosen, 10_000)[1][0]
        assert batch["fair"].tolist() == [bool(kind)] * len(records)
        for index, loss in enumerate(losses):
            loss.row_losses = lambda logits, targets, index=index: torch.full((len(targets),), float(index + 1))
        trained = DecoderModule(parts.model, PhaseSettings(), parts.control.topic_ids, *losses)
        seen = trained.predict_batch(batch)
        own = trained._topic_part(seen, batch, len(records)) - seen.naming.mean()
        assert own.item() == pytest.approx(kind + 1, abs=1e-4)


def test_held_out_rows_count_as_often_as_training_shows_their_topic(parts, topics):
    loss = make_loss(LossSettings(weights="none"), topics.counts)
    batch = loader(parts, parts.rows, 10_000)[1][0]
    even = DecoderModule(parts.model, PhaseSettings(), parts.control.topic_ids, loss)
    seen = even.predict_batch(batch)
    rows = len(batch["topic"])
    torch.testing.assert_close(even._held_out_topic_part(seen, batch), even._topic_part(seen, batch, rows))
    shown = [[0.5, 3.0]]
    skewed = DecoderModule(parts.model, PhaseSettings(), parts.control.topic_ids, loss, None, shown)
    each = F.cross_entropy(seen.topics, batch["topic"], reduction="none")
    expected = (each * torch.tensor(shown[0])[batch["topic"]] + seen.naming).mean()
    torch.testing.assert_close(skewed._held_out_topic_part(seen, batch), expected)


def test_exact_counts_rows_that_greedy_generation_gets_right(parts):
    _, batches = loader(parts, parts.rows)
    trained = module(parts)
    logged = {}
    trained._log_mean = lambda name, value, weight: logged.update({name: value.item()})
    seen = trained.predict_batch(batches[0])
    sure = F.one_hot(seen.targets, seen.written.shape[1]).float()
    sure[seen.rows == 1] = 0.0
    trained.predict_batch = lambda batch: replace(seen, written=sure)
    trained.validation_step(batches[0], 0)
    assert logged["exact"] == pytest.approx(1 - 1 / len(batches[0]["written"]))


def test_a_repeat_lacks_spans_of_the_text_and_of_nothing_else(parts):
    start, stop = parts.rows.texts[0]
    whole = parts.rows.view(0)
    assert parts.rows.view(SampledRow(0, 0, "x")) == whole
    views = [parts.rows.view(SampledRow(0, repeat, "x")) for repeat in (1, 2, 3)]
    for view in views:
        assert view[:start] == whole[:start]
        assert view[len(view) - (len(whole) - stop) :] == whole[stop:]
        assert len(view) < len(whole)
    assert len({tuple(view) for view in views}) == 3


def test_batches_hold_the_views_that_are_drawn_and_count_them(parts):
    drawn = [SampledRow(0), SampledRow(0, 1, "s"), SampledRow(0, 2, "s"), SampledRow(3)]
    data = DecoderData(
        parts.rows,
        parts.rows,
        pad_id=parts.tokenizer.pad_token_id,
        tokens_per_batch=60,
        seed=0,
        sampler=lambda _: drawn,
    )
    batches = list(data.train_dataloader())
    found = sorted(
        ids[mask.bool()].tolist()
        for batch in batches
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    )
    assert found == sorted(parts.rows.view(view) for view in drawn)
    assert data.rows_per_batch == 4 / len(batches)
    assert data.written_per_batch == (3 * parts.rows.written[0] + parts.rows.written[3]) / len(batches)
    assert sum(len(batch["topic"]) for batch in data.val_dataloader()) == len(parts.rows)


def test_dropped_topics_differ_by_epoch_and_leave_the_rest(parts):
    options = {"pad_id": parts.tokenizer.pad_token_id, "tokens_per_batch": 10_000, "seed": 0}
    data = DecoderData(parts.rows, replace(parts.rows), topic_dropout=0.4, **options)
    reserved = set(parts.control.ids)

    def bare(rows):
        return sorted([token for token in row if token not in reserved] for row in rows)

    seen = []
    for epoch in (0, 0, 1):
        data.trainer = SimpleNamespace(current_epoch=epoch, world_size=1, global_rank=0)  # pyright: ignore[reportAttributeAccessIssue]
        batch = next(iter(data.train_dataloader()))
        pairs = zip(batch["input_ids"], batch["attention_mask"].bool(), strict=True)
        shown = [ids[mask].tolist() for ids, mask in pairs]
        for row, topic in zip(shown, batch["topic"].tolist(), strict=True):
            topic_tokens = [token for token in row if token in reserved]
            assert topic_tokens == ([] if topic == NO_TOPIC else [parts.control.topic_ids[topic]])
        assert bare(shown) == bare(row.tolist() for row in parts.rows.tokens)
        assert 0 < batch["topic"].tolist().count(NO_TOPIC) < len(shown)
        seen.append(sorted(shown))
    assert seen[0] == seen[1] != seen[2]
    assert NO_TOPIC not in next(iter(data.val_dataloader()))["topic"].tolist()


def test_a_text_comes_again_under_another_topics_row(parts):
    options = {"pad_id": parts.tokenizer.pad_token_id, "tokens_per_batch": 10_000, "seed": 0}
    data = DecoderData(parts.rows, replace(parts.rows), text_swap=0.5, **options)
    typical = typical_tokens(parts.rows.target, parts.rows.topics)
    whole = sorted(ids.tolist() for ids in parts.rows.tokens)
    texts, targets = defaultdict(set), set()
    for row, (ids, span) in enumerate(zip(parts.rows.tokens, parts.rows.texts, strict=True)):
        texts[int(parts.rows.topics[row])].add(tuple(ids[slice(*span)].tolist()))
        targets.add((int(parts.rows.topics[row]), *parts.rows.target(row).tolist()))
    batch = next(iter(data.train_dataloader()))
    seen = []
    names = ("input_ids", "attention_mask", "learnt", "written", "topic")
    for ids, mask, learnt, written, topic in zip(*(batch[name] for name in names), strict=True):
        seen.append(ids[mask.bool()].tolist())
        if seen[-1] in whole:
            assert learnt.tolist() == [False] * (len(ids) - written) + [True] * int(written)
            continue
        end = len(seen[-1]) - int(written)
        start, stop = parts.sequencer.text_span(seen[-1][: end - 1])
        own = seen[-1][start:stop]
        of = {its for its, known in texts.items() if any(text[: len(own)] == tuple(own) for text in known)}
        assert of
        assert int(topic) not in of
        assert seen[-1][end - 1] == parts.control.topic_ids[int(topic)]
        assert any(target[: 1 + int(written)] == (int(topic), *seen[-1][end:]) for target in targets)
        assert learnt[-1]
        assert not learnt[:-written].any()
        assert torch.equal(learnt[-written:], torch.isin(ids[-written:], torch.from_numpy(typical[int(topic)])))
    assert sorted(ids for ids in seen if ids in whole) == whole
    assert len(whole) < len(seen) < 2 * len(whole)
    assert data.written_per_batch == parts.rows.written.sum() / len(list(data.train_dataloader()))
    held_out, plain = next(iter(data.val_dataloader())), DecoderData(parts.rows, parts.rows, **options)
    assert torch.equal(held_out["input_ids"], next(iter(plain.val_dataloader()))["input_ids"])
