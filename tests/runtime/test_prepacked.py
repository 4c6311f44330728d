"""Packed layers against the plain ones they stand for."""

import copy
import pickle

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, T5Config, T5ForSequenceClassification

from unskew.runtime import prepack_linears
from unskew.runtime.prepacked import PrepackedLinear, packable

TYPES = [torch.float32, torch.bfloat16]
pytestmark = pytest.mark.skipif(not packable(torch.float32), reason="needs oneDNN")


def layer(dtype=torch.float32, bias=True, inputs=512, outputs=300):
    if not packable(dtype):
        pytest.skip(f"no product of packed {dtype} here")
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs, bias=bias).to(dtype).eval()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", TYPES)
@torch.inference_mode()
def test_as_the_plain_layer_in_any_shape(dtype, bias):
    linear = layer(dtype, bias)
    packed = PrepackedLinear(linear)
    apart = torch.randn(4, 7, 600, dtype=dtype)[..., :512].transpose(0, 1)
    for inputs in [torch.randn(shape, dtype=dtype) for shape in [(3, 512), (2, 5, 512), (512,), (0, 512)]] + [apart]:
        torch.testing.assert_close(
            packed(inputs), linear(inputs), atol=1e-5 if dtype == torch.float32 else 2e-2, rtol=0
        )


@pytest.mark.parametrize("dtype", TYPES)
def test_its_state_and_its_copies_are_the_plain_layers(dtype):
    linear = layer(dtype)
    packed = PrepackedLinear(linear)
    for one in (packed, copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        state = one.state_dict()
        assert state.keys() == linear.state_dict().keys()
        assert all(torch.equal(state[name], value) for name, value in linear.state_dict().items())


def test_training_it_is_refused_and_not_done_wrong():
    model = nn.Sequential(layer())
    prepack_linears(model)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model(torch.randn(2, 512)).requires_grad
    with pytest.raises(RuntimeError, match="loaded for inference"):
        model(torch.randn(2, 512, requires_grad=True))


def test_it_is_loaded_and_changed_like_the_plain_layer():
    packed, other = PrepackedLinear(layer()), nn.Linear(512, 300)
    packed.load_state_dict(other.state_dict())
    inputs = torch.randn(2, 512)
    with torch.inference_mode():
        torch.testing.assert_close(packed(inputs), other(inputs), atol=1e-5, rtol=0)
    with pytest.raises(RuntimeError, match="weight"):
        packed.load_state_dict({"bias": other.bias})
    if packable(torch.bfloat16):
        packed.bfloat16()
        assert packed.weight.dtype == packed(inputs.bfloat16()).dtype == torch.bfloat16
    with pytest.raises(RuntimeError, match="choose device and precision when it is loaded"):
        packed.to("meta")


def test_models_that_ask_a_layer_for_its_type():
    shape = {"d_model": 512, "d_kv": 8, "d_ff": 512, "num_layers": 1, "num_heads": 2, "num_decoder_layers": 1}
    model = T5ForSequenceClassification(T5Config(vocab_size=64, decoder_start_token_id=0, **shape)).eval()  # pyright: ignore[reportCallIssue]
    ids = torch.tensor([[5, 6, 7, 1]])
    with torch.inference_mode():
        before = model(input_ids=ids).logits
        prepack_linears(model)
        torch.testing.assert_close(model(input_ids=ids).logits, before, atol=1e-4, rtol=1e-4)
    assert any(isinstance(module, PrepackedLinear) for module in model.modules())


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_gives_the_same_and_is_saved_as_it_was(tied, tmp_path):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=600,
        hidden_size=512,
        intermediate_size=640,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=1,
        tie_word_embeddings=tied,
    )
    model = LlamaForCausalLM(config).eval()
    ids = torch.randint(600, (2, 9))
    with torch.inference_mode():
        before = model(input_ids=ids).logits
        state = {name: value.clone() for name, value in model.state_dict().items()}
        prepack_linears(model)
        torch.testing.assert_close(model(input_ids=ids).logits, before, atol=1e-4, rtol=1e-4)
    mlp = model.model.layers[0].mlp
    assert isinstance(mlp.up_proj, PrepackedLinear)
    assert isinstance(model.model.layers[0].self_attn.k_proj, nn.Linear)  # too small to gain
    assert isinstance(model.lm_head, PrepackedLinear)
    for one in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        copied = one.state_dict()
        assert copied.keys() == state.keys()
        shared = copied["lm_head.weight"].data_ptr() == copied["model.embed_tokens.weight"].data_ptr()
        assert shared == tied
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())
