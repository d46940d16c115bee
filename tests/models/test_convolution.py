"""Convolutions: the values and gradients of torch's own."""

import contextlib

import pytest
import torch
from torch import nn

from conftest import assert_close
from engine.onednn import OneDNNProducts
from models.convolution import Convolution
from models.layers import max_over_tokens


def test_a_convolution_is_torchs():
    torch.manual_seed(0)
    ours, reference = Convolution(6, 5, 3, before=1), nn.Conv1d(6, 5, 3, padding=1)
    ours.weight.data = reference.weight.data.transpose(1, 2).flatten(1)
    ours.bias.data = reference.bias.data
    x = torch.randn(4, 7, 6)
    assert_close(ours(x), reference(x.transpose(1, 2)).transpose(1, 2), 1e-5)


@pytest.mark.parametrize(("products", "error"), [("float32", 1e-5), ("onednn", 1e-5), ("bf16", 1e-2)])
@pytest.mark.parametrize(("size", "before"), [(1, 0), (2, 0), (3, 1), (4, 0), (5, 4)])
def test_the_largest_values_have_the_gradients_of_torch(size, before, products, error):
    contexts = {"float32": contextlib.nullcontext, "onednn": OneDNNProducts}
    torch.manual_seed(0)
    layer, x = Convolution(7, 11, size, before), torch.randn(9, 13, 7, requires_grad=True)
    mask = torch.arange(13) < torch.tensor([13, 1, 2, 3, 5, 8, 12, 4, 9])[:, None]

    def computed(largest):
        with contexts.get(products, lambda: torch.autocast("cpu", torch.bfloat16))():
            found = torch.relu(largest().float() - 0.2)  # some of the largest values have no gradient
        return found, *torch.autograd.grad(found.square().sum(), [x, *layer.parameters()])

    expected = computed(lambda: max_over_tokens(layer(x), mask))
    assert not expected[0].all()
    for one, other in zip(computed(lambda: layer.largest(x, mask)), expected, strict=True):
        torch.testing.assert_close(one, other, atol=error, rtol=error)


def test_a_batch_whose_largest_values_have_no_gradient():
    layer, x = Convolution(7, 11, 3), torch.randn(2, 5, 7, requires_grad=True)
    layer.largest(x, torch.ones(2, 5, dtype=torch.bool)).mul(0).sum().backward()
    assert not x.grad.any()
    assert not layer.weight.grad.any()
