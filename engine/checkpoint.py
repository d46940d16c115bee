"""Checkpoints: one file that is enough to predict with on another machine, and the state that a run resumes from."""

import dataclasses
import importlib.metadata
import platform
from pathlib import Path
from typing import NamedTuple

import torch
from torch.overrides import TorchFunctionMode

from cli.console import UserError
from cli.files import replacing
from models import ENCODERS, NETWORKS, model_module, trainer
from text.vocabulary import Vocabulary
from text.wordpieces import WordPieces

FORMAT = 1
LARGE = 5_000_000  # numbers in a table of n-grams from which it is stored in half precision


class Checkpoint(NamedTuple):
    """What a checkpoint holds, with the model built."""

    name: str
    config: object
    classes: list
    vocabulary: Vocabulary | WordPieces
    model: torch.nn.Module
    metrics: dict


def path_of(directory, name):
    """Where a model's checkpoint lies under the directory that training wrote to."""
    return Path(directory) / "saved_dict" / f"{name}.ckpt"


def save(path, name, config, classes, vocabulary, model, metrics):
    """Writes a checkpoint; a crash leaves the old one or the new one."""
    weights = {key: tensor.cpu() for key, tensor in model.state_dict().items()}
    tables = [f"{key}.weight" for key, module in model.named_modules() if getattr(module, "sparse", False)]
    weights |= {key: weights[key].half() for key in tables if weights[key].numel() >= LARGE}
    content = {
        "format": FORMAT,
        "model": name,
        "config": dataclasses.asdict(config),
        "classes": list(classes),
        "vocabulary": vocabulary.content,
        "encoder": config.encoder,
        "weights": weights,
        "metrics": metrics,
        "versions": versions(),
    }
    with replacing(path) as file:
        torch.save(content, file)


def load(path, device="cpu"):
    """Reads a checkpoint and builds its model, in evaluation mode. Raises UserError for any other file."""
    content = read(path, device)
    if not isinstance(content, dict) or content.get("format") != FORMAT or "model" not in content:
        what = (
            "weights alone, as the earlier toolkit saved them" if _is_bare(content) else "no checkpoint of this toolkit"
        )
        raise UserError(
            f"{path} holds {what}: classes and vocabulary are missing; train again: "
            f"python {trainer([Path(path).stem])} --model M"
        )
    if content["model"] not in NETWORKS + ENCODERS:
        names = ", ".join(NETWORKS + ENCODERS)
        raise UserError(f"{path} is a checkpoint of {content['model']}; expected one of {names}")
    module = model_module(content["model"])
    try:
        kind = WordPieces if "tokenizer" in content["vocabulary"] else Vocabulary
        vocabulary = kind(**content["vocabulary"])
        config = module.Config(**content["config"])
        config.fit(len(content["classes"]), len(vocabulary), content.get("encoder"))
        with torch.device(device), _Undrawn():
            model = module.Model(config)
        model.load_state_dict(content["weights"])
        return Checkpoint(content["model"], config, content["classes"], vocabulary, model.eval(), content["metrics"])
    except (KeyError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} does not fit this version of {content['model']} ({reason}); train again") from error


class _Undrawn(TorchFunctionMode):
    """Leaves parameters as they are allocated, which takes no time, since they are replaced at once.

    (Nor does torch's "meta" device take any, but for that torch loads its compiler, a second.)
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        target = args[0] if args else (kwargs or {}).get("tensor")  # so torch.nn.init calls it
        if isinstance(target, torch.nn.Parameter) and function.__name__ in ("normal_", "uniform_", "zero_"):
            return target
        return function(*args, **(kwargs or {}))


def _is_bare(content):
    return isinstance(content, dict) and content and all(isinstance(v, torch.Tensor) for v in content.values())


def read(path, device="cpu"):
    """The plain data in a file that torch saved; whatever would run code is refused."""
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except Exception as error:  # a damaged file makes torch raise whatever it likes
        raise UserError(f"{path} is damaged or no checkpoint") from error


def newest(directory, names):
    """Of these models' checkpoints under a directory the one that was written last, or None."""
    files = [path_of(directory, name) for name in names]
    return max((file for file in files if file.exists()), key=lambda file: file.stat().st_mtime, default=None)


def versions():
    """The versions that a result depends on."""
    packages = {name: importlib.metadata.version(name) for name in ("torch", "numpy", "transformers")}
    return {"python": platform.python_version(), **packages}
