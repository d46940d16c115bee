"""What a machine's products cost: its measured rate, and the floating-point operations of a function.

The share that `benchmarks.networks` and `benchmarks.encoders` print is the time that a model's matrix products would
take at that rate, divided by the time that all takes. LSTMs are counted on a CPU alone.
"""

import math
import statistics
import time

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from engine.device import PRECISIONS, autocast

SIZE, TURNS = 2048, 9  # of square matrices, large enough for every core


def product_rate(compute):
    """Floating-point operations a second of large products in the precision of a `Compute`, the median of `TURNS`."""
    a, b = (torch.randn(SIZE, SIZE, device=compute.device) for _ in range(2))
    if dtype := PRECISIONS[compute.amp]:
        a, b = a.to(dtype), b.to(dtype)
    seconds = []
    for _ in range(TURNS + 1):  # the first one warms up
        start = time.perf_counter()
        with autocast(compute.device, compute.amp):
            F.linear(a, b)[0, 0].item()
        seconds.append(time.perf_counter() - start)
    return 2 * SIZE**3 / statistics.median(seconds[1:])


def operations(function):
    """The floating-point operations of the matrix products of a call, those of its backward pass included."""
    with FlopCounterMode(display=False, custom_mapping=NOT_COUNTED_BY_TORCH) as counter:
        function()
    return counter.get_total_flops()


def _linear(inputs, weight, *_, **__):
    """Operations of a product by oneDNN, of the shapes (…, E) and (H, E)."""
    return 2 * math.prod(inputs) * weight[0]


def _lstm(tokens, inputs, recurrent, *_, **__):
    """Operations of an LSTM's layer, of the shapes (T, B, E), (4H, E) and (4H, H)."""
    return 2 * tokens[0] * tokens[1] * inputs[0] * (inputs[1] + recurrent[1])


def _lstm_backward(*shapes, **options):
    return 2 * _lstm(*shapes, **options)


def _attention(query, key, value, *_, **__):
    """Operations of attention, of the shapes (B, heads, T, D)."""
    batch, heads, length, width = query
    return 2 * batch * heads * length * key[2] * (width + value[3])


def _attention_backward(grad, query, key, value, *_, **__):
    return 5 * _attention(query, key, value) // 2  # the scores are computed again


NOT_COUNTED_BY_TORCH = {
    torch.ops.mkldnn._linear_pointwise: _linear,
    torch.ops.aten.mkldnn_rnn_layer: _lstm,
    torch.ops.aten.mkldnn_rnn_layer_backward: _lstm_backward,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
