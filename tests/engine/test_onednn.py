"""Products by oneDNN: the values and gradients of torch's own."""

import pytest
import torch
from torch import nn

from engine.device import autocast
from engine.onednn import OneDNNProducts
from models.convolution import Convolution


@pytest.mark.parametrize("shape", [(5, 30), (4, 7, 30), (1, 1, 30), (2, 0, 30), (30,)])
@pytest.mark.parametrize("layer", [nn.Linear(30, 11), nn.Linear(30, 11, bias=False), Convolution(30, 11, 3, before=1)])
def test_values_and_gradients_are_those_of_torch(layer, shape):
    if isinstance(layer, Convolution) and len(shape) != 3:
        pytest.skip("a convolution is over the tokens of rows")
    torch.manual_seed(1)
    x = torch.randn(shape, requires_grad=True)

    def computed():
        found = layer(x)
        with torch.inference_mode():
            assert torch.allclose(layer(x), found, atol=1e-5)
        parameters = [x, *layer.parameters()]
        return found, *torch.autograd.grad(found.sin().sum(), parameters)

    expected = computed()
    with OneDNNProducts():
        found = computed()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_other_types_are_computed_as_usual():
    layer = nn.Linear(30, 11).double()
    x = torch.randn(5, 30, dtype=torch.float64)
    expected = layer(x)
    with OneDNNProducts():
        assert torch.equal(layer(x), expected)


def test_it_is_for_float32_on_processors_of_amd(monkeypatch):
    capabilities = {"cpu_name": "AMD Ryzen 9 7950X 16-Core Processor", "avx512_f": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    cpu = torch.device("cpu")

    def is_used(amp):
        return isinstance(autocast(cpu, amp), OneDNNProducts)

    assert is_used("off")
    assert not is_used("bf16")
    capabilities["avx512_f"] = False
    assert not is_used("off")
    capabilities.update(avx512_f=True, cpu_name="Intel(R) Xeon(R) Processor")
    assert not is_used("off")
