"""The engine against plain greedy steps: one row, no cache, no padding, no prefix."""

import copy
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MptConfig,
    MptForCausalLM,
)

from unskew.decoder import GenerationSettings
from unskew.decoder import engine as engines
from unskew.decoder.engine import Engine, Guidance
from unskew.decoder.generation import TokenSelector
from unskew.decoder.kv_cache import KeptPrefix, bytes_per_token, compact, plain_memory
from unskew.runtime import prepack_linears
from unskew.runtime.prepacked import packable

VOCABULARY, PAD, END = 60, 0, 1
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "initializer_range": 0.5,  # large, so that outputs differ and are no ties
    "pad_token_id": PAD,
    "eos_token_id": END,
    "bos_token_id": 2,
}
PREFIX = [7, 8, 9]
ROWS = [[*PREFIX, *range(10, 10 + n)] for n in (3, 30, 1, 12, 12, 7, 45, 2, 19)]
LIMIT = 10


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    made = LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=1)).eval()
    with torch.no_grad():
        made.lm_head.weight[END] *= 3  # so that some rows end soon
    return made


def greedy(batch):
    return TokenSelector(GenerationSettings(), [], [0] * len(batch), torch.device("cpu"))


@contextmanager
def passes(model):
    """The token ids of the forward passes in the block."""
    read = []
    handle = model.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(kwargs["input_ids"]), with_kwargs=True
    )
    yield read
    handle.remove()


@torch.inference_mode()
def plain_steps(model, row, limit=LIMIT):
    ids = list(row)
    for _ in range(limit):
        ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        if ids[-1] == END:
            break
    return ids[len(row) :]


@pytest.fixture(scope="module")
def expected(model):
    return [plain_steps(model, row) for row in ROWS]


@pytest.mark.parametrize("prefix", [PREFIX, PREFIX[:1], []])
@pytest.mark.parametrize("budget", [None, 1, 60, 130])
@pytest.mark.parametrize("read", [1, 40, 2048])
def test_writes_what_plain_steps_write(model, expected, prefix, budget, read, monkeypatch):
    monkeypatch.setattr(engines, "CPU_READ", read)
    assert Engine(model, prefix, PAD, END).write(ROWS, greedy, LIMIT, budget) == expected
    lengths = {len(ids) for ids in expected}
    assert LIMIT in lengths  # some are cut
    assert len(lengths) > 2  # others leave the batch before


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(len(ROWS))), count=st.integers(1, len(ROWS)), budget=st.integers(1, 400))
def test_company_and_order_change_nothing(model, expected, order, count, budget):
    picked = order[:count]
    written = Engine(model, PREFIX, PAD, END).write([ROWS[i] for i in picked], greedy, LIMIT, budget)
    assert written == [expected[i] for i in picked]


@pytest.mark.parametrize("budget", [None, 50])
def test_reads_what_a_plain_pass_reads(model, budget):
    rows = [*ROWS, PREFIX]  # nothing after the prefix
    seen = torch.full((len(rows), VOCABULARY), torch.nan)
    for batch, logits in Engine(model, PREFIX, PAD, END).read(rows, budget):
        seen[batch] = logits
    for row, logits in zip(rows, seen, strict=True):
        alone = model(input_ids=torch.tensor([row])).logits[0, -1].detach()
        torch.testing.assert_close(logits, alone, atol=1e-4, rtol=1e-4)


def test_the_prefix_is_read_once_and_finished_rows_leave(model, expected):
    with passes(model) as read:
        Engine(model, PREFIX, PAD, END).write(ROWS, greedy, LIMIT)
    seen = [ids.shape for ids in read]
    assert seen[0] == (1, len(PREFIX))
    assert seen[1] == (len(ROWS), max(map(len, ROWS)) - len(PREFIX))
    assert [shape[0] for shape in seen[2:]] == [sum(len(ids) > step for ids in expected) for step in range(1, LIMIT)]


def test_what_memory_held_before_does_no_harm(model, expected, monkeypatch):
    empty = torch.Tensor.new_empty
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda *args, **kwargs: empty(*args, **kwargs).fill_(torch.nan))
    monkeypatch.setattr(engines, "CPU_READ", 40)
    assert Engine(model, PREFIX, PAD, END).write(ROWS, greedy, LIMIT) == expected


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("full"), MemoryError(), RuntimeError("can't allocate memory")]
)
def test_batches_are_halved_when_memory_runs_out(model, expected, error, monkeypatch):
    tried, write = [], Engine._write

    def small(self, rows, *rest):
        tried.append(len(rows))
        if len(rows) > 2:
            raise error
        return write(self, rows, *rest)

    monkeypatch.setattr(Engine, "_write", small)
    done = []
    assert Engine(model, PREFIX, PAD, END).write(ROWS, greedy, LIMIT, progress=done.append) == expected
    assert sum(done) == len(ROWS)
    assert max(tried) == len(ROWS)


def test_a_row_too_large_for_the_memory_raises_and_so_does_any_other_fault(model, monkeypatch):
    def fail(error):
        def write(*args):
            raise error

        monkeypatch.setattr(Engine, "_write", write)

    fail(torch.OutOfMemoryError("full"))
    with pytest.raises(torch.OutOfMemoryError):
        Engine(model, PREFIX, PAD, END).write(ROWS[:1], greedy, LIMIT)
    fail(RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        Engine(model, PREFIX, PAD, END).write(ROWS, greedy, LIMIT)


def test_batches_fit_the_free_memory(model, monkeypatch):
    per_token = 2 * 2 * 8 * 4  # keys and values, layers, size of the one head, bytes
    cache = model(input_ids=torch.tensor([[2]]), use_cache=True).past_key_values
    assert bytes_per_token(plain_memory(cache)) == per_token
    room = 130
    monkeypatch.setattr(engines, "free_bytes", lambda device: room * per_token / engines.MEMORY_SHARE)
    sizes, write = [], Engine._write

    def spy(self, rows, *rest):
        sizes.append((len(rows), max(map(len, rows)) + LIMIT))
        return write(self, rows, *rest)

    monkeypatch.setattr(Engine, "_write", spy)
    Engine(model, PREFIX, PAD, END).write(ROWS, greedy, LIMIT)
    assert len(sizes) > 1
    assert all(rows * longest <= room or rows == 1 for rows, longest in sizes)


def test_a_model_with_sliding_windows_is_right_too():
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        **SIZES,
        num_key_value_heads=1,
        head_dim=8,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"],
    )
    model = Gemma3ForCausalLM(config).eval()
    written = Engine(model, PREFIX, PAD, END).write(ROWS, greedy, LIMIT, 200)
    assert written == [plain_steps(model, row) for row in ROWS]
    for batch, logits in Engine(model, PREFIX, PAD, END).read(ROWS):
        alone = model(input_ids=torch.tensor([ROWS[batch[0]]])).logits[0, -1].detach()
        torch.testing.assert_close(logits[0], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "in_slots"),
    [
        (lambda: MptForCausalLM(MptConfig(d_model=16, n_heads=2, n_layers=2, max_seq_len=128, vocab_size=60)), False),
        (lambda: BloomForCausalLM(BloomConfig(hidden_size=16, n_head=2, n_layer=2, vocab_size=60)), True),
    ],
    ids=["mpt", "bloom"],
)
def test_a_model_without_position_ids_is_read_in_slots_only_if_it_does_not_count_them(kind, in_slots):
    torch.manual_seed(0)
    model = kind().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.5)
    engine = Engine(model, PREFIX, PAD, END)
    assert engine.write(ROWS, greedy, LIMIT) == [plain_steps(model, row) for row in ROWS]
    assert (engine._share(ROWS)[0] is not None) == in_slots
    for batch, logits in engine.read(ROWS):
        for i, own in zip(batch, logits, strict=True):
            alone = model(input_ids=torch.tensor([ROWS[i]])).logits[0, -1].detach()
            torch.testing.assert_close(own, alone, atol=1e-3, rtol=1e-3)


@given(done=st.lists(st.booleans(), min_size=1, max_size=30))
def test_rows_leave_and_the_others_fill_the_first_slots(done):
    slots = list(range(len(done)))
    order, movers, holes = compact(done)
    for mover, hole in zip(movers, holes, strict=True):
        slots[hole] = mover
    assert slots[: len(order)] == order
    assert sorted(order) == [i for i, gone in enumerate(done) if not gone]
    assert len(movers) <= sum(done)


MARKS = [[50], [51], [50], [52], [51], [50], [52], [51], [50]]
LONGER = [[50], [51, 53], [50], [52, 54, 55], [51], [50], [52, 53], [51], [50]]


@torch.inference_mode()
def guided_steps(model, row, mark, scale):
    bare, marked = list(row), [*row, *mark]
    written = []
    for _ in range(LIMIT):
        without, given = (model(input_ids=torch.tensor([ids])).logits[0, -1] for ids in (bare, marked))
        token = int((without + scale * (given - without)).argmax())
        written.append(token)
        bare, marked = [*bare, token], [*marked, token]
        if token == END:
            break
    return written


@pytest.mark.parametrize("topic_tokens", [MARKS, LONGER])
@pytest.mark.parametrize(("prefix", "budget"), [(PREFIX, None), ([], 90)])
def test_guidance_is_what_two_plain_passes_a_step_give(model, topic_tokens, prefix, budget):
    expected = [guided_steps(model, row, mark, 2.5) for row, mark in zip(ROWS, topic_tokens, strict=True)]
    found = Engine(model, prefix, PAD, END).write(ROWS, greedy, LIMIT, budget, guidance=Guidance(topic_tokens, 2.5))
    assert found == expected
    assert len({len(ids) for ids in found}) > 1  # some leave the batch before others
    assert found != Engine(model, prefix, PAD, END).write(
        ROWS, greedy, LIMIT, budget, guidance=Guidance(topic_tokens, 1.0)
    )


def test_guidance_of_one_writes_what_the_marked_rows_alone_do(model):
    marked = [[*row, *mark] for row, mark in zip(ROWS, LONGER, strict=True)]
    engine = Engine(model, PREFIX, PAD, END)
    assert engine.write(ROWS, greedy, LIMIT, guidance=Guidance(LONGER, 1.0)) == engine.write(marked, greedy, LIMIT)


def test_guided_prompts_are_read_once(model):
    with passes(model) as read:
        Engine(model, PREFIX, PAD, END).write(ROWS, greedy, 2, guidance=Guidance(MARKS, 2.0))
    seen, rows = [tuple(ids.shape) for ids in read], len(ROWS)
    begun = [guided_steps(model, row, mark, 2.0)[0] for row, mark in zip(ROWS, MARKS, strict=True)]
    left = rows - begun.count(END)
    assert left > 0
    assert seen == [(1, len(PREFIX)), (rows, max(map(len, ROWS)) - len(PREFIX)), (rows, 1), (2 * left, 1)]


def test_a_frozen_models_prefix_is_read_once_for_all_calls(model, expected):
    frozen, kept = copy.deepcopy(model).requires_grad_(False), KeptPrefix()
    with passes(frozen) as read:
        for row, wanted in zip(ROWS, expected, strict=True):
            assert Engine(frozen, PREFIX, PAD, END, kept).write([row], greedy, LIMIT) == [wanted]
    assert [ids.tolist() for ids in read].count([PREFIX]) == 1


def other_weights(model):
    torch.manual_seed(4)
    return LlamaForCausalLM(model.config).eval().requires_grad_(False)


CHANGES = {
    "in place": lambda model, other: value_weights(model).copy_(value_weights(other)),
    "state dict": lambda model, other: model.load_state_dict(other.state_dict()),
    "state dict, assigned": lambda model, other: model.load_state_dict(other.state_dict(), assign=True),
    "parameter": lambda model, other: setattr(
        model.model.layers[1].self_attn.v_proj, "weight", nn.Parameter(value_weights(other), requires_grad=False)
    ),
    "layer": lambda model, other: setattr(model.model.layers[1], "self_attn", other.model.layers[1].self_attn),
    "data": lambda model, other: setattr(value_weights(model), "data", value_weights(other).data),
    "type": lambda model, other: model.double(),
}


def value_weights(model):
    return model.model.layers[1].self_attn.v_proj.weight


@pytest.mark.parametrize("change", CHANGES)
def test_a_prefix_is_read_again_after_weights_change(model, change):
    frozen, kept = copy.deepcopy(model).requires_grad_(False), KeptPrefix()
    Engine(frozen, PREFIX, PAD, END, kept).write(ROWS, greedy, LIMIT)
    CHANGES[change](frozen, other_weights(model))
    frozen.requires_grad_(False)
    wanted = [plain_steps(frozen, row) for row in ROWS]
    assert Engine(frozen, PREFIX, PAD, END, kept).write(ROWS, greedy, LIMIT) == wanted


def test_a_prefix_is_read_again_by_another_model_and_by_a_copy(model):
    frozen, kept = copy.deepcopy(model).requires_grad_(False), KeptPrefix()
    Engine(frozen, PREFIX, PAD, END, kept).write(ROWS, greedy, LIMIT)
    other = other_weights(model)
    assert Engine(other, PREFIX, PAD, END, kept).write(ROWS, greedy, LIMIT) == [plain_steps(other, row) for row in ROWS]
    copied, kept = copy.deepcopy((other, kept))
    copied.load_state_dict(frozen.state_dict())
    wanted = [plain_steps(copied, row) for row in ROWS]
    assert Engine(copied, PREFIX, PAD, END, kept).write(ROWS, greedy, LIMIT) == wanted


@pytest.mark.skipif(not packable(torch.float32), reason="needs oneDNN")
def test_a_prefix_is_read_again_after_a_prepacked_layer_changes():
    torch.manual_seed(6)
    sizes = {**SIZES, "hidden_size": 256, "num_hidden_layers": 1, "initializer_range": 0.1}
    packed, other = (LlamaForCausalLM(LlamaConfig(**sizes)).eval().requires_grad_(False) for _ in range(2))
    prepack_linears(packed)
    kept = KeptPrefix()
    before = Engine(packed, PREFIX, PAD, END, kept).write(ROWS, greedy, LIMIT)
    name = "model.layers.0.self_attn.v_proj.weight"
    packed.load_state_dict({name: other.state_dict()[name]}, strict=False)
    after = Engine(packed, PREFIX, PAD, END, copy.deepcopy(kept)).write(ROWS, greedy, LIMIT)
    assert Engine(packed, PREFIX, PAD, END, kept).write(ROWS, greedy, LIMIT) == after
    assert after != before


def test_a_model_in_training_reads_its_prefix_for_each_call(model):
    kept = KeptPrefix()
    with passes(model) as read:
        for _ in range(2):
            Engine(model, PREFIX, PAD, END, kept).write(ROWS[:1], greedy, LIMIT)
    assert [ids.tolist() for ids in read].count([PREFIX]) == 2


def test_a_prefix_is_read_again_after_an_adapter_is_switched_off(model, expected):
    torch.manual_seed(5)
    chosen = LoraConfig(target_modules=["v_proj"], init_lora_weights=False)
    adapted: Any = get_peft_model(copy.deepcopy(model), chosen).eval().requires_grad_(False)
    kept = KeptPrefix()
    assert Engine(adapted, PREFIX, PAD, END, kept).write(ROWS, greedy, LIMIT) != expected
    with adapted.disable_adapter():
        assert Engine(adapted, PREFIX, PAD, END, kept).write(ROWS, greedy, LIMIT) == expected
