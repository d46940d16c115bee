"""What training on long rows costs, estimated before it starts: time and memory.

The time of a row of T tokens is a T, or with attention a T + b T². Its memory is c T. They are measured on the first
tokens of the longest row, of two lengths.
"""

import time

import numpy as np
import psutil
import torch

from cli.console import RANKS, UserError, duration, say
from engine.batches import PART_TOKENS
from engine.device import autocast

LONG = 4096  # tokens of the longest row, above which the cost is estimated
SHORT = 1024  # tokens of the rows that are measured, and four times as many
PEAK = 2  # memory of a step, relative to what the forward pass keeps for the backward pass


def report_cost(run):
    """Reports how long an epoch takes if rows are long. Raises UserError if they need more memory than is free."""
    lengths, device = run.train.lengths, run.compute.device
    longest = int(lengths.max(initial=0))
    if longest <= LONG:
        return
    batch = run.train.cut(np.array([lengths.argmax()]))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        _, (short, kept), (long, more) = (measure(run, batch, T) for T in (SHORT, SHORT, 4 * SHORT))  # the first: warm
    tokens = max(longest, min(PART_TOKENS, longest * run.config.batch_size))
    needed, free = PEAK * (more - kept) / (3 * SHORT) * tokens, free_memory(device)
    if needed > free:
        raise UserError(
            f"--pad_size {run.config.pad_size}: a training step on rows of {longest:,} tokens takes about "
            f"{needed / 2**30:.0f} GB of memory, and {free / 2**30:.0f} GB are free; lower --pad_size"
        )
    rows = np.bincount(lengths)
    sizes = np.arange(len(rows)) / SHORT
    b = max(0.0, (long - 4 * short) / 12) if run.config.attention else 0.0
    seconds = rows @ ((long - 16 * b) / 4 * sizes + b * sizes**2) / RANKS
    say(
        f"Long rows: up to {longest:,} tokens are read of a row. An epoch takes about {duration(seconds)}, a step up "
        f"to {needed / 2**30:.1f} GB of memory; a lower --pad_size takes less"
    )


def measure(run, batch, tokens):
    """The seconds of forward and backward on the first tokens of a batch of one row, and the bytes kept in between."""
    marks = None if batch.word_ends is None else batch.word_ends[:, :tokens]
    lengths = torch.full_like(batch.lengths, tokens)
    positions = None if batch.positions is None else batch.positions[batch.positions < tokens]  # of masked tokens
    part = batch._replace(tokens=batch.tokens[:, :tokens], lengths=lengths, joints=None, word_ends=marks)
    part = part._replace(positions=positions)
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    start = time.monotonic()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with autocast(run.compute.device, run.compute.amp):
            logits = run.model(part)
        logits.float().sum().backward()
    if run.compute.device.type == "cuda":
        torch.cuda.synchronize()
    run.model.zero_grad()
    return time.monotonic() - start, sum(kept.values())


def free_memory(device):
    """The bytes that are free on a device."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
