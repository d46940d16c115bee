"""What a process computes on: device, precision and memory."""

import contextlib
import ctypes
import os
import re
import sys

import torch

from cli.console import RANKS, UserError

CACHED = "64"  # shapes; of torch's 1,024 batches of all lengths take gigabytes, and no fewer seconds
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's names in malloc.h
PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16, "off": None}


def pick_device(name="auto"):
    """The torch device of that name; `auto` is CUDA, else Apple's MPS, else the CPU. Each rank has a GPU of its own."""
    os.environ.setdefault("LRU_CACHE_CAPACITY", CACHED)  # of the CPU's kernels, read when the first one runs
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, there in found.items() if there and (kind != "mps" or RANKS == 1))  # gloo has no mps
    if name == "cuda" and RANKS > 1:
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
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
        there = ", ".join(kind for kind, there in found.items() if there)
        raise UserError(f"--device {name}: torch {torch.__version__} finds no such device here, only {there}")
    return device


def describe_device(device):
    """The device as a person wants to know it."""
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
    """The name in PRECISIONS of what the training steps compute in; `auto` asks the hardware."""
    if name == "auto":
        name = "bf16" if has_bfloat16(device) else "fp16" if device.type == "cuda" else "off"
    if name == "fp16" and device.type != "cuda":
        raise UserError(f"--amp fp16 is for GPUs, and this run is on {device}; use --amp bf16 or --amp off")
    return name


def autocast(device, amp):
    """Computes products in a precision in PRECISIONS."""
    return torch.autocast(device.type, PRECISIONS[amp] or torch.bfloat16, enabled=amp != "off")


@contextlib.contextmanager
def tensor_floats(device, amp):
    """Lets a GPU round the factors of a training's float32 products to TF32, several times as fast, but with amp off.

    Elsewhere, in tests and predictions, float32 is float32.
    """
    allowed = device.type == "cuda" and amp != "off"
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if allowed else "highest")
        torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        if allowed:
            torch.set_float32_matmul_precision("highest")
            torch.backends.cudnn.allow_tf32 = False


def keep_memory():
    """Keeps the memory that a step frees for the next one, until `release_memory`.

    (glibc gives large pieces back at once, and each of their pages is a fault when it returns: a sixth of an LSTM's
    step.)
    """
    glibc("mallopt", M_TRIM_THRESHOLD, -1)
    glibc("mallopt", M_MMAP_MAX, 0)


def release_memory():
    """Gives memory that is free back to the system: batches of many shapes leave glibc holding gigabytes of it."""
    glibc("malloc_trim", 0)


def glibc(function, *arguments):
    """Calls a function of glibc; nothing where there is another C library."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            getattr(ctypes.CDLL(None), function)(*arguments)


def add_device_flags(parser):
    """The flags of every script that computes."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument(
        "--amp", choices=["auto", *PRECISIONS], default="auto", help="precision; auto: the fastest that the device has"
    )


@contextlib.contextmanager
def enough_memory(device, advice):
    """Turns a lack of memory on the device into a UserError with this advice."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and not re.search("out of memory|ALLOC_FAILED", str(error)):
            raise
        raise UserError(f"out of memory on {device}: {advice}") from error
