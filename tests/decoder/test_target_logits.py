import pytest
import torch
import torch.nn.functional as F
from peft.tuners.trainable_tokens.layer import TrainableTokensLayer
from transformers import GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM

from unskew.decoder import ControlTokens, DecoderSettings
from unskew.decoder.adaptation import adapt
from unskew.decoder.base import load_model, load_tokenizer
from unskew.decoder.control import make_rows
from unskew.decoder.module import DecoderModule
from unskew.decoder.sequences import pad_left
from unskew.decoder.target_logits import KEPT, shared_tokens, target_logits
from unskew.decoder.token_rows import RowsBeside
from unskew.training import PhaseSettings

PREFIX = list(range(5, 19))


def gradients(model, loss):
    loss.backward()
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
    model.zero_grad()
    return found


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("adaptation", ["lora", "top_blocks", "full"])
def test_loss_and_gradients_are_those_of_whole_rows_under_pefts_own_layers(tied, adaptation, make_base, tmp_path):
    folder = make_base(tmp_path, tied=tied)
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    control = ControlTokens.add(tokenizer, ("oil", "wheat"))
    make_rows(model, tokenizer, control, new=control.ids)
    shared = shared_tokens(model, PREFIX, 0)
    assert shared == len(PREFIX) - KEPT
    model = adapt(model, control, DecoderSettings(base="x", rank=2, blocks=1, adaptation=adaptation)).double().train()
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    oil, wheat = control.topic_ids
    rows = [[*PREFIX, 20, 21, 22, oil, 30, 31, 3], [*PREFIX, wheat, 33, 3], [*PREFIX, 24, control.fairness_id, oil, 3]]
    written = torch.tensor([3, 2, 1])
    learnt = torch.zeros(3, len(rows[0]), dtype=torch.bool)
    learnt[0, -3:] = torch.tensor([True, False, True])
    learnt[1, -2:] = learnt[2, -1:] = True

    batch = {**pad_left(rows, 0), "written": written, "learnt": learnt}
    seen = DecoderModule(model, PhaseSettings(), control.topic_ids, shared=shared).predict_batch(batch)
    found = F.cross_entropy(seen.written, seen.targets, reduction="sum") + seen.naming.sum() + seen.topics.sum()
    found_gradients = gradients(model, found)

    changed = [module for module in model.modules() if isinstance(module, RowsBeside)]
    assert bool(changed) == (adaptation != "full")
    for module in changed:
        module.__class__ = TrainableTokensLayer
    expected = torch.zeros((), dtype=torch.float64)
    for row, count, mask in zip(rows, written.tolist(), learnt, strict=True):
        ids = torch.tensor([row])
        logits = model(input_ids=ids).logits[0]
        topics = logits[-count - 2, list(control.topic_ids)]
        losses = F.cross_entropy(logits[-count - 1 : -1], ids[0, -count:], reduction="none")
        expected = expected + losses[mask[-count:]].sum()
        expected = expected + topics.sum() + logits[-count - 2].logsumexp(dim=0) - topics.logsumexp(dim=0)
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-5)
    expected_gradients = gradients(model, expected)
    assert len(expected_gradients) > 2
    torch.testing.assert_close(found_gradients, expected_gradients, atol=1e-5, rtol=1e-4)


def gpt2(**changes):
    return GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=64, **changes))


def mistral(**changes):
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    return MistralForCausalLM(MistralConfig(vocab_size=50, num_key_value_heads=1, **sizes, **changes))


SILENT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


@pytest.mark.parametrize(
    ("model", "is_read_once"),
    [
        (gpt2(**SILENT), True),
        (gpt2(**{**SILENT, "attn_pdrop": 0.1}), False),
        (mistral(sliding_window=None), True),
        (mistral(sliding_window=None, attention_dropout=0.1), False),
        (mistral(sliding_window=4), False),
    ],
)
def test_a_prefix_is_read_once_where_that_changes_nothing(model, is_read_once):
    shared = shared_tokens(model, PREFIX, 0)
    assert bool(shared) == is_read_once
    assert shared_tokens(model, PREFIX[:8], 0) == 0
    if is_read_once:
        inputs = pad_left([[*PREFIX, 20, 21, 22], [*PREFIX, 23]], 0)
        wanted = torch.tensor([[False] * len(PREFIX) + row for row in ([True, False, True], [False, False, True])])
        whole, apart = (target_logits(model.eval(), inputs, wanted, count) for count in (0, shared))
        torch.testing.assert_close(whole, apart, atol=1e-5, rtol=1e-4)
