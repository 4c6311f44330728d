"""Int8 layers against the float ones they stand for."""

import copy
import pickle

import pytest
import torch
from torch import nn

from unskew.common import UserError
from unskew.runtime import choose_precision, is_quantized, to_precision
from unskew.runtime.int8 import LARGEST, Int8Linear, int8_available, int8_input_max

pytestmark = pytest.mark.skipif(not int8_available(), reason="needs oneDNN")


def layer(bias=True, inputs=48, outputs=20):
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs, bias=bias).eval()


@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_close_to_the_float_layer_in_any_shape(bias):
    linear = layer(bias)
    rounded = Int8Linear(linear)
    for shape in [(3, 48), (2, 5, 48), (48,)]:
        inputs = torch.randn(shape)
        expected = linear(inputs)
        assert rounded(inputs).shape == expected.shape
        assert (rounded(inputs) - expected).abs().max() < 0.03 * expected.abs().max()


@torch.inference_mode()
def test_exact_where_nothing_is_rounded():
    """Small whole numbers with the largest among them, worked by the rule: every scale is 1."""
    linear = layer(bias=False, inputs=4, outputs=2)
    linear.weight.copy_(torch.tensor([[127.0, 1, -2, 3], [-127, 0, 5, 7]]))
    inputs = torch.tensor([[int8_input_max(), 2.0, 0, -1], [0, 0, 0, 0]])
    torch.testing.assert_close(Int8Linear(linear)(inputs), linear(inputs))


@torch.inference_mode()
def test_the_largest_products_do_not_overflow():
    linear = layer(bias=False, inputs=512, outputs=2)
    linear.weight.copy_(torch.tensor([[float(LARGEST)], [-LARGEST]]).expand(2, 512))
    inputs = torch.full((3, 512), float(int8_input_max()))
    inputs[1] = -inputs[1]
    torch.testing.assert_close(Int8Linear(linear)(inputs), linear(inputs))


@torch.inference_mode()
def test_a_row_does_not_depend_on_its_neighbours():
    rounded = Int8Linear(layer())
    inputs = torch.randn(4, 48)
    crowd = torch.cat([inputs, 1000 * torch.randn(3, 48)])
    assert torch.equal(rounded(crowd)[:4], rounded(inputs))


@torch.inference_mode()
def test_copies_and_pickles_give_the_same_outputs():
    rounded, inputs = Int8Linear(layer()), torch.randn(4, 48)
    for one in (copy.deepcopy(rounded), pickle.loads(pickle.dumps(rounded))):
        assert torch.equal(one(inputs), rounded(inputs))


def test_a_model_is_quantised_but_for_its_tied_embedding():
    model = nn.ModuleDict({"embed": nn.Embedding(20, 48), "inner": nn.Sequential(layer()), "head": layer(False)})
    model["head"].weight = model["embed"].weight
    before = model["embed"].weight.clone()  # pyright: ignore[reportCallIssue]
    assert not is_quantized(model)
    to_precision(model, "int8")
    assert isinstance(model["inner"][0], Int8Linear)
    assert isinstance(model["head"], Int8Linear)
    assert torch.equal(model["embed"].weight, before)
    assert is_quantized(model)


def test_precisions():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert (choose_precision(None, cpu), choose_precision(None, gpu)) == ("float32", "bfloat16")
    model = layer()
    to_precision(model, "bfloat16")
    assert model.weight.dtype == torch.bfloat16
    for wrong, device in (("int8", gpu), ("half", cpu)):
        with pytest.raises(UserError, match=wrong):
            choose_precision(wrong, device)
