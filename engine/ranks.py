"""The processes that torchrun starts: joining and leaving the group, and what is computed over all of them."""

import importlib

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from cli.console import RANKS


def join_ranks(device):
    """Joins the group of processes that torchrun started, if there is more than one."""
    if RANKS > 1:
        importlib.import_module("torch.distributed.nn")  # imported later, its default arguments keep the group alive
        if device.type == "cuda":
            torch.cuda.set_device(device)
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")


def leave_ranks():
    """Ends the group and its threads: a thread that frees a tensor while Python shuts down aborts the process."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def parallel(model, device):
    """The model with gradients averaged over all ranks; the model itself if there is one rank."""
    if RANKS == 1:
        return model
    devices = [device] if device.type == "cuda" else None
    # its own synchronisation includes counts of n-grams: integers of 16 bits, which neither gloo nor NCCL can send
    return DistributedDataParallel(broadcast(model), devices, forward_sync_buffers=False, init_sync=False)


def all_reduce_sum(tensor):
    """Sums a tensor over all ranks, in place."""
    if RANKS > 1:
        distributed.all_reduce(tensor)
    return tensor


def broadcast(model):
    """Copies the first rank's weights to the model on all ranks; returns the model."""
    if RANKS > 1:
        for tensor in model.state_dict().values():
            distributed.broadcast(tensor, 0)
    return model


def broadcast_object(content):
    """The first rank's plain data, on all ranks."""
    if RANKS == 1:
        return content
    box = [content]
    distributed.broadcast_object_list(box)
    return box[0]
