"""Prediction with matrix products of 8-bit integers, on processors with instructions for them (VNNI).

Both factors of a product are scaled to whole numbers from -127 to 127: the weights of each output once, the features of
each token (of each text before a convolution) while they are computed, so that a text's logits do not depend on the
texts beside it. LSTMs, attention
between tokens and layers with few weights stay in float32.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from cli.console import UserError, say
from cli.files import digest_of, replacing, shown
from engine.predictor import labelled_rows
from engine.scores import measure_of, predictions_of, score_of
from models.convolution import convolution, windows
from text.rows import sample_of

LARGE = 10_000  # weights of a layer that is computed in 8 bits; smaller ones gain nothing
HIGHEST = 127
SMALLEST = 1e-30  # of a scale: a token whose features are all 0 has one too
ALLOWED = 0.003  # accuracy on dev that may be lost
CHECKED = 10_000  # rows of dev at most
INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "amx_int8")


class Int8Products(TorchFunctionMode):
    """The context in which the `nn.Linear` layers of a model compute on 8-bit integers. Each thread enters it."""

    def __init__(self, model):
        super().__init__()
        layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear) and layer.weight.numel() >= LARGE]
        self.packed = {layer.weight: packed(layer.weight.detach()) for layer in layers}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (F.linear, convolution) and not kwargs and args[1] in self.packed:
            x, weight, bias, *around = args
            steps, levels = quantized(x, (-1, -2) if around else -1)
            levels = windows(levels, *around) if around else levels
            return product(levels, steps, *self.packed[weight], bias)
        return function(*args, **kwargs or {})


def packed(weight):
    """The levels of a weight, (H, E) -> (E, H) int8, and the scales of its outputs, (H,)."""
    scales = weight.abs().amax(dim=1).div(HIGHEST).clamp(min=SMALLEST)
    return (weight / scales[:, None]).round().to(torch.int8).t(), scales


def quantized(x, dims):
    """Scales of features, one for all that lie along these dimensions, and their levels, int8 of the same shape."""
    steps = x.abs().amax(dim=dims, keepdim=True).div_(HIGHEST).clamp_(min=SMALLEST)
    return steps, torch.div(x, steps).round_().to(torch.int8)


def product(levels, steps, weight, scales, bias):
    """The product of levels, (…, E), and of a `packed` weight, in float32, (…, H)."""
    found = torch._int_mm(levels.flatten(0, -2), weight).view(*levels.shape[:-1], -1).float().mul_(steps)
    return found.mul_(scales) if bias is None else torch.addcmul(bias, found, scales)


def use_int8(predictor, dataset=None):
    """Lets a `Predict` compute in 8 bits. Its accuracy on dev is checked once, and stored beside the checkpoint.

    dataset: the directory whose data/dev.txt is used, by default the one that training wrote to. Raises UserError if
    the processor or the model does not suit, if there are no rows, or if more than `ALLOWED` is lost.
    """
    capabilities = torch.cpu.get_capabilities()
    if predictor.device.type != "cpu" or not any(capabilities.get(name) for name in INSTRUCTIONS):
        where = f"{predictor.device} is a GPU" if predictor.device.type != "cpu" else "this processor has none"
        raise UserError(f"--int8 needs a processor with VNNI instructions, and {where}; leave it out")
    mode = Int8Products(predictor.saved.model)
    if not mode.packed:
        raise UserError(f"--int8 is for large matrix products, and {predictor.saved.name} has none; leave it out")
    path, digest = predictor.path.with_suffix(".int8.json"), digest_of(predictor.path)
    found = stored(path)
    if found.get("checkpoint") != digest:
        found = {"checkpoint": digest} | compared(predictor, Path(dataset or predictor.path.parent.parent), mode)
        try:
            with replacing(path, "w", encoding="utf-8") as file:
                json.dump(found, file, indent=1)
        except UserError as error:
            say(f"The check of --int8 is repeated each time: {error}")
    what = f"{found['measure']} of {found['rows']:,} rows of dev"
    if found["float32"] - found["int8"] > ALLOWED:
        scores = f"from {found['float32']:.2%} to {found['int8']:.2%}"
        raise UserError(
            f"--int8 lowers the {what} {scores}, expected at most {100 * ALLOWED:.1f} points less; leave it out"
        )
    say(f"The {what} is {found['int8']:.2%} in 8 bits, {found['float32']:.2%} in float32")
    predictor.int8 = mode


def stored(path):
    """What an earlier check wrote, empty if there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def compared(predictor, dataset, mode):
    """The scores of a `Predict` on dev in float32 and in 8 bits, as plain data."""
    texts, labels = labelled_rows(predictor, dataset, "dev")
    if not texts:
        where = f"--checkpoint {shown(predictor.path)} --dataset DATASET"
        raise UserError(f"--int8 is checked on dev once, and {shown(dataset)} has none; use {where}")
    row_ids = sample_of(np.arange(len(texts)), CHECKED)
    texts, labels = [texts[i] for i in row_ids], labels[row_ids]
    scores = []
    for predictor.int8 in (None, mode):
        scores.append(score_of(predictions_of(predictor.saved, predictor.predict_proba(texts)), labels))
    predictor.int8 = None
    return {"measure": measure_of(predictor.saved), "rows": len(texts), "float32": scores[0], "int8": scores[1]}
