"""What a process computes on: device, precision and memory."""

import contextlib
import ctypes
import os
import re
import sys
from typing import NamedTuple

import torch

from cli.console import LOCAL_RANK, RANKS, UserError
from engine.onednn import OneDNNProducts, is_faster

CACHED = "64"  # shapes for which CPU kernels are cached; torch's 1,024 take gigabytes and save no time
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # as in glibc's malloc.h
PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16, "off": None}
NO_MEMORY = "out of memory|ALLOC_FAILED|can't allocate|not enough memory|[Ss]torage size|overflow|array is too big"


class Compute(NamedTuple):
    """What a training computes on and in: amp is a name in `PRECISIONS`."""

    device: torch.device
    amp: str = "off"
    compile: bool = False  # whether torch.compile builds the kernels of the training step

    @classmethod
    def of(cls, args):
        """The values of the flags of `cli.device_flags` and of `--compile`."""
        device = pick_device(args.device)
        if args.compile and device.type != "cuda":
            raise UserError(f"--compile is for GPUs, and this run is on {device}")
        return cls(device, precision(args.amp, device), args.compile)


def pick_device(name="auto"):
    """The torch device of that name; `auto` is CUDA, otherwise MPS, otherwise the CPU. Each rank has its own GPU."""
    os.environ.setdefault("LRU_CACHE_CAPACITY", CACHED)  # read when the first CPU kernel runs
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(type for type, there in found.items() if there and (type != "mps" or RANKS == 1))  # gloo has no mps
    if name == "cuda" and RANKS > 1:
        name = f"cuda:{LOCAL_RANK}"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device {name}: expected auto, cpu, cuda, cuda:1 or mps") from error
    beyond = device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    if beyond and RANKS > 1:
        raise UserError(
            f"no GPU for this process: torch finds {torch.cuda.device_count()} here; lower --nproc_per_node"
        )
    if not found.get(device.type) or beyond:
        there = ", ".join(type for type, there in found.items() if there)
        raise UserError(f"--device {name}: torch {torch.__version__} finds no such device here, only {there}")
    torch.backends.cudnn.allow_tf32 = False  # torch's default rounds the factors of LSTMs; `tensor_floats` allows it
    return device


def describe_device(device):
    """The device's name for a message."""
    ranks = f", {RANKS} processes" if RANKS > 1 else ""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)}{ranks})"
    if device.type == "cpu":
        there = "" if torch.cuda.is_available() else "; torch finds no GPU"
        return f"cpu ({torch.get_num_threads()} threads{ranks}{there})"
    return str(device)


def has_bfloat16(device):
    """Whether the hardware multiplies bfloat16 matrices faster than float32 ones."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def precision(name, device):
    """The name in `PRECISIONS` that `--amp` means; `auto` is the fastest that the hardware has."""
    if name == "auto":
        name = "bf16" if has_bfloat16(device) else "fp16" if device.type == "cuda" else "off"
    if name == "fp16" and device.type != "cuda":
        raise UserError(f"--amp fp16 is for GPUs, and this run is on {device}; use --amp bf16 or --amp off")
    return name


def autocast(device, amp):
    """The context that computes products in a precision in `PRECISIONS`."""
    if amp == "off" and device.type == "cpu" and is_faster():
        return OneDNNProducts()
    return torch.autocast(device.type, PRECISIONS[amp] or torch.bfloat16, enabled=amp != "off")


@contextlib.contextmanager
def tensor_floats(device, amp):
    """The context of a training on a GPU: unless amp is off, the factors of float32 products are rounded to TF32.

    That is several times as fast. Tests and predictions do not use it.
    """
    allowed = device.type == "cuda" and amp != "off"
    if allowed:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        if allowed:
            torch.set_float32_matmul_precision("highest")
            torch.backends.cudnn.allow_tf32 = False


def keep_memory():
    """Keeps the memory that a step frees for the next step, until `release_memory`.

    (By default glibc returns large blocks to the system at once. Page faults then take a sixth of an LSTM's step.)
    """
    glibc("mallopt", M_TRIM_THRESHOLD, -1)
    glibc("mallopt", M_MMAP_MAX, 0)


def release_memory():
    """Returns free memory to the system: batches of many shapes leave gigabytes of it with glibc."""
    glibc("malloc_trim", 0)


def glibc(function, *arguments):
    """Calls a function of glibc, if that is the C library."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            getattr(ctypes.CDLL(None), function)(*arguments)


@contextlib.contextmanager
def enough_memory(device, advice):
    """Turns a lack of memory on the device into a UserError with this advice."""
    try:
        yield
    except (RuntimeError, MemoryError, ValueError) as error:
        if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and not re.search(NO_MEMORY, str(error)):
            raise
        raise UserError(f"out of memory on {device}: {advice}") from error
