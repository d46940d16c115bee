"""The processes that torchrun starts: joining them, and what is computed over all of them."""

import importlib

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from cli.console import RANKS


def join_ranks(device):
    """Meets the other processes that torchrun started; nothing where this one is alone."""
    if RANKS > 1:
        importlib.import_module("torch.distributed.nn")  # later, its functions' defaults would keep the group for good
        if device.type == "cuda":
            torch.cuda.set_device(device)
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")


def leave_ranks():
    """Ends the group and its threads: one that frees a tensor while Python shuts down would abort the process."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def parallel(model, device):
    """The model whose gradients are averaged over all ranks; the model itself where there is one rank."""
    if RANKS == 1:
        return model
    devices = [device] if device.type == "cuda" else None
    return DistributedDataParallel(model, devices, forward_sync_buffers=False)


def total(tensor):
    """The sum of a tensor over all ranks, in place."""
    if RANKS > 1:
        distributed.all_reduce(tensor)
    return tensor


def like_first(model):
    """The model with the first rank's weights, on all ranks."""
    if RANKS > 1:
        for tensor in model.state_dict().values():
            distributed.broadcast(tensor, 0)
    return model


def from_first(content):
    """What the first rank holds, plain data, on all ranks."""
    if RANKS == 1:
        return content
    box = [content]
    distributed.broadcast_object_list(box)
    return box[0]
