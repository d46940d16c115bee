"""A GPU that is simulated on the CPU, so that the code for CUDA runs on a build of torch without it.

Its tensors are CPU tensors that say that they are on `cuda:0`. As on a real one, an operator that gets tensors of both
devices raises, and so does NumPy. What makes the host wait for the device is recorded. Kernels, their rounding and
their speed are those of the CPU.
"""

import contextlib
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from conftest import ROOT

CUDA = torch.device("cuda", 0)
aten, Tensor = torch.ops.aten, torch.Tensor
COPIES = {aten.copy_, aten._to_copy}
INDEXED = {aten.index, aten.index_put, aten.index_put_}  # their indices may be on the CPU
WAITS = {aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten._unique2, aten.bincount, aten.equal}
WAITS |= {aten.unique_dim, aten.unique_consecutive}
# what autocast computes in float32 on CUDA, but not on the CPU
IN_FLOAT32 = {Tensor.exp, Tensor.log, Tensor.pow, Tensor.softmax, Tensor.log_softmax, Tensor.sum, Tensor.cumsum}
IN_FLOAT32 |= {torch.softmax, torch.log_softmax, torch.sum, F.softmax, F.log_softmax, F.layer_norm, F.cross_entropy}
MEMORY = 1 << 33
WAITED = []  # where the host waited for the device


class OnGPU(Tensor):
    """A tensor of the simulated GPU; `held` is a plain one in the same memory."""

    @staticmethod
    def __new__(cls, held):
        tensor = Tensor._make_subclass(cls, held)
        tensor.held = held
        return tensor

    device = property(lambda self: CUDA)
    is_cuda, is_cpu = property(lambda self: True), property(lambda self: False)

    def __repr__(self):
        return f"OnGPU({self.held!r})"

    def __reduce_ex__(self, protocol):
        return self.held.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        packet, kwargs = function.overloadpacket, kwargs or {}
        elsewhere = [t for t in tensors_in(args) if type(t) is Tensor and (t.dim() or packet in INDEXED)]
        if elsewhere and packet not in COPIES | INDEXED:
            raise RuntimeError(f"{function}: expected all tensors to be on the same device, found cuda:0 and cpu")
        indices = [t for t in args[1] if t is not None] if packet in INDEXED else []
        counts = function is aten.repeat_interleave.Tensor and not kwargs
        copies = packet is aten.copy_ and elsewhere and not (args[2:] or kwargs)
        if packet in WAITS or counts or copies or any(type(t) is Tensor or t.dtype == torch.bool for t in indices):
            wait(packet)
        found = function(*plain(args), **plain(kwargs))
        schema = zip(args, function._schema.arguments, strict=False)
        written = [arg for arg, own in schema if own.alias_info and own.alias_info.is_write]
        if function._schema.returns and written:
            return written[0]
        return on_gpu(found)


def tensors_in(arguments):
    """The tensors among the arguments of an operator."""
    for argument in arguments:
        if isinstance(argument, Tensor):
            yield argument
        elif isinstance(argument, list | tuple):
            yield from tensors_in(argument)


def plain(content):
    """The content with the tensors that those of the simulated GPU hold."""
    if type(content) in (list, tuple):
        return type(content)(map(plain, content))
    if isinstance(content, dict):
        return {name: plain(value) for name, value in content.items()}
    return content.held if isinstance(content, OnGPU) else content


def on_gpu(content):
    """The content with its tensors on the simulated GPU, in the same memory."""
    return OnGPU(content) if isinstance(content, Tensor) else tree_map_only(Tensor, OnGPU, content)


def wait(what):
    """Records the function of this project in which the host waits for the device."""
    frame = sys._getframe()
    while frame and not is_ours(Path(frame.f_code.co_filename)):
        frame = frame.f_back
    if frame:
        path = Path(frame.f_code.co_filename).relative_to(ROOT)
        WAITED.append(f"{path.as_posix()}: {frame.f_code.co_name}: {what}")


def is_ours(path):
    """Whether a file is of this project, without its tests and packages that are installed in its directory."""
    parts = path.relative_to(ROOT).parts if path.is_relative_to(ROOT) else ("tests",)
    return parts[0] != "tests" and "site-packages" not in parts


class Calls(TorchFunctionMode):
    """Makes and copies tensors on the device that a call names."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is Tensor.backward:
            with self:
                return torch.autograd.backward(*args)
        if function in (Tensor.to, Tensor.cpu):
            return copied(*args, *(["cpu"] if function is Tensor.cpu else []), **kwargs)
        if function in (Tensor.numpy, Tensor.__array__) and isinstance(args[0], OnGPU):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if function is Tensor.tolist and isinstance(args[0], OnGPU):
            wait("tolist")
            return args[0].held.tolist()
        if function is F.one_hot:  # it makes a tensor in C++
            return on_gpu(function(*plain(args), **kwargs))
        if function is F.embedding_bag and args[0].dim() == 2:
            args, kwargs = with_offsets(*args, **kwargs)
        if function in IN_FLOAT32 and torch.is_autocast_enabled("cpu"):
            args = tree_map_only(Tensor, lambda t: t.float() if t.is_floating_point() else t, args)
        if kwargs.get("device") is None:
            return function(*args, **kwargs)
        on_cuda = torch.device(kwargs["device"]).type == "cuda"
        if on_cuda and function is torch.tensor:
            wait("tensor")
        found = function(*plain(args), **kwargs | {"device": "cpu"})
        return on_gpu(found) if on_cuda else found


def copied(tensor, *args, non_blocking=False, **kwargs):
    """What `Tensor.to` returns."""
    named = [each.device if isinstance(each, Tensor) else each for each in (*args, kwargs.pop("device", None))]
    device = next((torch.device(each) for each in named if isinstance(each, str | torch.device)), tensor.device)
    found = Tensor.to(tensor, *(arg for arg in args if isinstance(arg, torch.dtype)), **kwargs)
    if device.type == tensor.device.type:
        return found
    if device.type == "cpu" or not non_blocking:
        wait(f"copy to {device}")
    found = plain(found).detach().clone()
    return found if device.type == "cpu" else on_gpu(found)


def with_offsets(ids, *args, **kwargs):
    """The arguments of `embedding_bag` for bags of the same size, (B, T), whose offsets torch makes in Python."""
    starts = torch.arange(0, ids.numel(), ids.shape[1])
    kwargs["offsets"] = on_gpu(starts) if isinstance(ids, OnGPU) else starts
    if kwargs.get("per_sample_weights") is not None:
        kwargs["per_sample_weights"] = kwargs["per_sample_weights"].flatten()
    return (ids.flatten(), *args), kwargs


def values_of_cuda(bfloat16):
    """What the functions of `torch.cuda` return that this project and torch's optimizers call."""
    values = {"is_available": True, "device_count": 1, "current_device": 0, "is_bf16_supported": bfloat16}
    values |= {"_lazy_init": None, "synchronize": None, "get_device_name": "simulated", "max_memory_allocated": 0}
    return values | {"mem_get_info": (MEMORY, MEMORY)}


@contextlib.contextmanager
def simulated_gpu(bfloat16=True):
    """The context in which torch has the simulated GPU; yields `WAITED`."""
    autocast, load, group = torch.autocast.__init__, torch.load, torch._C._group_tensors_by_device_and_dtype
    enabled, available, dtype = torch.is_autocast_enabled, torch.amp.is_autocast_available, torch.get_autocast_dtype
    apply, future = torch.nn.Module._apply, torch.__future__

    def autocast_on_cpu(self, device_type, *args, **kwargs):
        autocast(self, "cpu", *args, **kwargs)

    def loaded(path, map_location=None, **options):
        found = load(path, map_location="cpu", **options)
        return on_gpu(found) if map_location and torch.device(map_location).type == "cuda" else found

    def grouped(*args):
        return {(CUDA, dtype): found for (_, dtype), found in group(*args).items()}

    def moved(module, *args):  # a parameter is exchanged, since the class of a tensor does not change with its data
        outer = future.get_swap_module_params_on_conversion()
        future.set_swap_module_params_on_conversion(True)
        try:
            return apply(module, *args)
        finally:
            future.set_swap_module_params_on_conversion(outer)

    with pytest.MonkeyPatch.context() as patch:
        for name, value in values_of_cuda(bfloat16).items():
            patch.setattr(torch.cuda, name, lambda *_, value=value, **__: value)
        patch.setattr(torch.cuda, "get_rng_state", lambda _: torch.get_rng_state())
        patch.setattr(torch.cuda, "set_rng_state", lambda state, _: torch.set_rng_state(state))
        patch.setattr(torch.autocast, "__init__", autocast_on_cpu)
        patch.setattr(torch, "is_autocast_enabled", lambda _: enabled("cpu"))
        patch.setattr(torch, "get_autocast_dtype", lambda _: dtype("cpu"))
        patch.setattr(torch.amp, "is_autocast_available", lambda _: available("cpu"))
        patch.setattr(torch, "load", loaded)
        patch.setattr(torch._C, "_group_tensors_by_device_and_dtype", grouped)
        patch.setattr(torch.nn.Module, "_apply", moved)
        patch.setattr(torch.backends.cudnn, "is_acceptable", lambda _: False)
        WAITED.clear()
        with Calls():
            yield WAITED
