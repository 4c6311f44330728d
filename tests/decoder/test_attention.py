"""Attention that leaves out unseen keys, against transformers' own and against a plain softmax."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from unskew.decoder.attention import KINDS, NAME, RUN, causal_runs, skip_unseen_keys


def small(kind, **options):
    """A model of that kind with random weights; where a kind knows a sliding window, it is a short one."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind,
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        num_key_value_heads=2,
        intermediate_size=48,
        sliding_window=40,
    )
    return AutoModelForCausalLM.from_config(config, **options).eval()


def layer(groups: int) -> nn.Module:
    made = nn.Module()
    made.num_key_value_groups, made.is_causal = groups, True
    return made


def plain(query, key, value, mask, groups):
    """Softmax of the scores, written out."""
    key, value = (part.repeat_interleave(groups, dim=1) for part in (key, value))
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    return (scores.masked_fill(~mask, -torch.inf).softmax(-1) @ value).transpose(1, 2)


@settings(max_examples=40)
@given(
    rows=st.integers(1, 3),
    groups=st.sampled_from([1, 3]),
    length=st.sampled_from([1, 2, RUN - 1, RUN, RUN + 1, 2 * RUN + 5]),
    before=st.integers(0, 9),
    later=st.booleans(),
    seed=st.integers(0, 999),
)
def test_as_a_softmax_written_out(rows, groups, length, before, later, seed):
    rng = torch.Generator().manual_seed(seed)
    positions = before + length
    query = torch.randn(rows, 2 * groups, length, 8, generator=rng)
    key, value = (torch.randn(rows, 2, positions, 8, generator=rng) for _ in range(2))
    seen = torch.arange(positions) <= torch.arange(before, positions)[:, None]
    padding = torch.rand(rows, 1, 1, positions, generator=rng) < 0.3
    mask = (seen & ~padding) | torch.eye(positions, dtype=torch.bool)[before:]  # every query sees itself
    if later:
        mask = mask | (torch.rand(rows, 1, length, positions, generator=rng) < 0.05)
    found, weights = causal_runs(layer(groups), query, key, value, mask)
    assert weights is None
    torch.testing.assert_close(found, plain(query, key, value, mask, groups), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("length", [1, 5])
def test_without_a_mask_queries_see_what_is_before_them(length):
    query, key, value = torch.randn(2, 4, length, 8), torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    seen = torch.arange(5) <= torch.arange(5 - length, 5)[:, None]
    found, _ = causal_runs(layer(2), query, key, value, None)
    torch.testing.assert_close(found, plain(query, key, value, seen, 2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", sorted(KINDS))
@torch.inference_mode()
def test_a_models_logits_stay_and_its_configuration_is_saved_as_before(kind, tmp_path):
    model = small(kind)
    ids = torch.randint(50, (3, 2 * RUN))
    mask = torch.ones_like(ids)
    mask[0, :70], mask[1, :3] = 0, 0
    before = model(input_ids=ids, attention_mask=mask).logits
    model.save_pretrained(tmp_path / "before")
    skip_unseen_keys(model)
    assert model.config._attn_implementation == NAME
    after = model(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(after[mask.bool()], before[mask.bool()], atol=1e-4, rtol=1e-4)
    model.save_pretrained(tmp_path / "after")
    assert (tmp_path / "after/config.json").read_text() == (tmp_path / "before/config.json").read_text()


def test_another_attention_and_another_kind_of_model_stay():
    eager = small("llama", attn_implementation="eager")
    skip_unseen_keys(eager)
    assert eager.config._attn_implementation == "eager"
    untried = small("opt")
    skip_unseen_keys(untried)
    assert untried.config._attn_implementation == "sdpa"
