"""Float32 products of linear layers by oneDNN, on processors of AMD with AVX-512.

torch computes them with MKL, which uses no AVX-512 there: oneDNN is twice as fast. The convolutions and LSTMs of
torch use oneDNN anyway.
"""

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from models.convolution import convolution, windows


def is_faster():
    """Whether oneDNN computes float32 products faster than torch's usual functions."""
    found = torch.cpu.get_capabilities()
    is_amd = str(found.get("cpu_name", "")).startswith("AMD")
    return is_amd and bool(found.get("avx512_f")) and torch.backends.mkldnn.is_available()


class OneDNNProducts(TorchFunctionMode):
    """The context in which linear layers compute with oneDNN."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is F.linear:
            return linear(*args, **kwargs or {})
        if function is convolution:
            x, weight, bias, *around = args
            return linear(windows(x, *around), weight, bias)
        return function(*args, **kwargs or {})


def linear(input, weight, bias=None):
    """What `F.linear` computes."""
    if input.dtype != torch.float32 or weight.dtype != torch.float32 or not input.numel():
        return F.linear(input, weight, bias)
    return Linear.apply(input, weight, bias)


def product(input, weight, bias=None):
    return torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")


class Linear(torch.autograd.Function):
    """`product` with gradients."""

    @staticmethod
    def forward(ctx, input, weight, bias):
        ctx.save_for_backward(input, weight)
        return product(input, weight, bias)

    @staticmethod
    def backward(ctx, grad):
        (input, weight), rows = ctx.saved_tensors, grad.reshape(-1, grad.shape[-1])
        needs_input, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            product(grad, weight.t()) if needs_input else None,
            product(rows.t().contiguous(), input.reshape(-1, input.shape[-1]).t()) if needs_weight else None,
            rows.sum(dim=0) if needs_bias else None,
        )
