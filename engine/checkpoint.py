"""Checkpoints: one file that is enough to predict with on another machine."""

import dataclasses
import hashlib
import math
import zipfile
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from cli.console import UserError, reason
from cli.files import replacing
from cli.installation import versions
from engine.calibration import Calibration
from engine.label_calibration import MultiLabelCalibration
from engine.temperature import TINY
from models import LINEAR, MODELS, model_module, trainer
from models.base import DataSpec, at_most
from models.counts import Counts
from models.evidence import with_evidence
from models.tables import Table
from text.hierarchy import Hierarchy
from text.vocabulary import Vocabulary
from text.wordpieces import WordPieces

FORMAT = 1
FIELDS = {"model": str, "config": dict, "classes": list, "vocabulary": dict, "weights": dict, "metrics": dict}
OF_ENSEMBLE = {"model": str, "classes": list, "members": list, "shares": list, "metrics": dict}  # instead of `FIELDS`
ENSEMBLE = "ensemble"  # its `model`
LARGE = 5_000_000  # a table of n-grams with more numbers is stored in half precision
STORES = ("half", "int8")  # how weights can be stored in fewer bytes
LARGEST = 127  # of 8 bits
PACKAGES = ("torch", "numpy", "transformers")
INITIALISERS = {torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.zero_, nn.init.normal_, nn.init.uniform_}


class Classifier(NamedTuple):
    """A model with all that is needed to predict with it."""

    name: str  # of the model
    config: object
    classes: list
    vocabulary: Vocabulary | WordPieces
    encoder: dict | None  # the content of the encoder's config.json
    model: nn.Module
    metrics: dict | None = None  # of the validation at which it was saved
    calibration: Calibration | MultiLabelCalibration = Calibration()

    @property
    def multi_label(self):
        """Whether a text has any number of labels."""
        return isinstance(self.calibration, MultiLabelCalibration)

    @property
    def hierarchy(self):
        return Hierarchy(self.classes, self.calibration.hierarchical)

    @property
    def members(self):
        """As those of an `Ensemble`, with their `shares`."""
        return [self]

    @property
    def shares(self):
        return [1.0]


class Ensemble(NamedTuple):
    """Classifiers of the same classes, whose probabilities are averaged."""

    classes: list
    members: list  # of Classifier
    shares: list  # each member's weight in the average; their sum is 1
    metrics: dict  # on the validation split
    calibration: Calibration | MultiLabelCalibration = Calibration()  # of the average; each member has its own besides

    name, multi_label, hierarchy = ENSEMBLE, Classifier.multi_label, Classifier.hierarchy

    @property
    def model(self):
        return nn.ModuleList(member.model for member in self.members)


def path_of(directory, name):
    """The path of a model's checkpoint under the directory that training writes to."""
    return Path(directory) / "saved_dict" / f"{name}.ckpt"


def save(path, classifier, store=None):
    """Writes a checkpoint, with weights as in `STORES`. A crash leaves the old one or the new one."""
    weights = {key: tensor.cpu() for key, tensor in classifier.model.state_dict().items()}
    tables = [f"{key}.weight" for key, module in classifier.model.named_modules() if isinstance(module, Table)]
    weights |= {key: weights[key].half() for key in tables if weights[key].numel() >= LARGE}
    scales = {}
    if store:
        weights, scales = shrink(weights, store)
    content = {
        "format": FORMAT,
        "model": classifier.name,
        "config": dataclasses.asdict(classifier.config),
        "classes": list(classifier.classes),
        "vocabulary": classifier.vocabulary.content,
        "encoder": classifier.encoder,
        "weights": weights,
        "scales": scales,
        "metrics": classifier.metrics,
        "calibration": classifier.calibration._asdict(),
        "n_grams": getattr(classifier.model, "content", None),
        "versions": versions(*PACKAGES),
    }
    write(path, content)


def save_ensemble(path, files, shares, classes, metrics, calibration=None):
    """Writes a checkpoint with those in other files as the members of an `Ensemble`, of these shares."""
    members = [read(file) for file in files]
    content = {"format": FORMAT, "model": ENSEMBLE, "classes": list(classes), "members": members}
    content |= {"shares": list(shares), "metrics": metrics, "calibration": (calibration or Calibration())._asdict()}
    write(path, content | {"versions": versions(*PACKAGES)})


def add_calibration(path, calibration):
    """Writes the checkpoint again with this Calibration."""
    write(path, read(path) | {"calibration": calibration._asdict()})


def shrink(weights, store):
    """Weights in half precision, or matrices in 8 bits with a scale for each row; returns them and the scales.

    Vectors are few numbers, and stay as they are.
    """
    matrices = {key: weight for key, weight in weights.items() if weight.is_floating_point() and weight.dim() > 1}
    if store == "half":
        return weights | {key: weight.half() for key, weight in matrices.items()}, {}
    rows = {key: weight.float().flatten(1) for key, weight in matrices.items()}
    scales = {key: (row.abs().amax(dim=1, keepdim=True) / LARGEST).bfloat16() for key, row in rows.items()}
    levels = {key: (row / scales[key].clamp(min=TINY)).round().clamp(-LARGEST, LARGEST) for key, row in rows.items()}
    return weights | {key: level.to(torch.int8).view_as(weights[key]) for key, level in levels.items()}, scales


def restored(weights, scales):
    """The weights, with the matrices that have scales as float32. Raises ValueError if a scale has another shape."""
    if not all(scale.shape == (len(weights[key]), 1) for key, scale in scales.items()):
        raise ValueError("scales of other shapes")
    full = {key: (weights[key].float().flatten(1) * scale).view_as(weights[key]) for key, scale in scales.items()}
    return weights | full


def load(path, device="cpu"):
    """Reads a checkpoint as a Classifier or an Ensemble, whose models are in evaluation mode.

    Raises UserError for any other file.
    """
    content = read(path, device)
    if not is_of_format(content, OF_ENSEMBLE):
        return _classifier(path, content, device)
    classes, shares = content["classes"], content["shares"]
    members = [_classifier(path, member, device) for member in content["members"]]
    whole = all(isinstance(share, float) and share > 0 for share in shares) and math.isclose(sum(shares), 1)
    ensemble = Ensemble(classes, members, shares, content["metrics"], Calibration.of(path, content))
    alike = all(member.classes == classes and member.multi_label == ensemble.multi_label for member in members)
    if not whole or len(shares) != len(members) or not alike:
        raise UserError(f"{path} is an ensemble whose members do not fit each other; build it again")
    return ensemble


def _classifier(path, content, device):
    """The Classifier with this content, of the file at `path`."""
    if not is_of_format(content, FIELDS):
        bare = "weights alone, as the earlier toolkit saved them" if _is_bare(content) else "no checkpoint"
        again = f"train again: python {trainer([Path(path).stem])} --model M"
        raise UserError(f"{path} holds {bare}: classes and vocabulary are missing; {again}")
    name, weights, classes = content["model"], content["weights"], content["classes"]
    if name not in MODELS:
        raise UserError(f"{path} is a checkpoint of {name}; expected one of {', '.join(MODELS)}")
    module = model_module(name)
    try:
        if not classes or not all(isinstance(label, str) for label in classes):
            raise UserError("the classes are not names")
        vocabulary_class = WordPieces if "tokenizer" in content["vocabulary"] else Vocabulary
        vocabulary = vocabulary_class(**content["vocabulary"])
        fields = {field.name for field in dataclasses.fields(module.Config)}
        earlier = {field: 0 for field in ("evidence", "word_n_grams") if field in fields}  # which had none
        config = module.Config(**earlier | content["config"])
        encoder = content.get("encoder")
        counts = Counts.unpacked(content["n_grams"]) if config.n_grams_per_token else None
        with at_most(sum(weight.numel() for weight in weights.values()), path), torch.device(device), _Undrawn():
            model = module.Model(config, DataSpec(len(classes), len(vocabulary), encoder))
            if name in LINEAR:
                model.load_content(content["n_grams"])
            model = with_evidence(model, config, counts).to(device)
        model.load_state_dict(restored(weights, content.get("scales", {})))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # torch and transformers raise exceptions of all types for other weights and sizes
        raise UserError(f"{path} does not fit this version of {name} ({reason(error)}); train again") from error
    calibration = Calibration.of(path, content)
    return Classifier(name, config, classes, vocabulary, encoder, model.eval(), content["metrics"], calibration)


def is_of_format(content, fields):
    """Whether the content of a file is a dict of this project's format, with fields of these types."""
    return (
        isinstance(content, dict)
        and type(content.get("format")) is int
        and content["format"] == FORMAT
        and all(isinstance(content.get(name), expected) for name, expected in fields.items())
    )


class _Undrawn(TorchFunctionMode):
    """Skips the initialisation of parameters, which are replaced at once.

    (torch's "meta" device would skip it too, but loads torch's compiler, which takes a second.)
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        parameter = args[0] if args else kwargs.get("tensor")  # the keyword of torch.nn.init
        if function in INITIALISERS and isinstance(parameter, nn.Parameter):
            return parameter
        return function(*args, **kwargs)


def _is_bare(content):
    return isinstance(content, dict) and content and all(isinstance(v, torch.Tensor) for v in content.values())


def write(path, content):
    """Writes plain data and tensors with their digest. Raises UserError if the disk is full."""
    with replacing(path) as file:
        try:
            torch.save(content | {"digest": _digest(content)}, file)
        except RuntimeError as error:  # torch's, while it handles that of the file
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def read(path, device="cpu"):
    """The plain data and tensors in a file that `write`, or torch, saved. Content that would run code is refused.

    Raises UserError if there is no such file, or if it is damaged.
    """
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        size = Path(path).stat().st_size
        if not all(tensor.numel() * tensor.element_size() <= size for tensor in _tensors(content)):
            raise ValueError("a tensor larger than the file")
        digest = content.pop("digest", None) if isinstance(content, dict) else None
        if digest is not None:
            damaged = digest != _digest(content)
        else:  # of an earlier version: the members of a zip file have checksums; older files are no zip files
            damaged = zipfile.is_zipfile(path) and zipfile.ZipFile(path).testzip()
        if damaged:
            raise ValueError("another digest or checksum")
        return content
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except Exception as error:  # a damaged file can make torch raise anything
        raise UserError(f"{path} is damaged or no checkpoint") from error


def _tensors(content):
    if isinstance(content, torch.Tensor):
        yield content
    elif isinstance(content, (dict, list, tuple)):
        for item in content.values() if isinstance(content, dict) else content:
            yield from _tensors(item)


def _digest(content):
    """The SHA-256 of plain data and tensors."""
    digest = hashlib.sha256()

    def add(value):
        if isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)} ".encode())
            if value.numel():  # an empty tensor may have strides of 0, which `view` refuses
                digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        elif isinstance(value, (dict, list, tuple)):
            digest.update(f"{len(value)} of {'pairs' if isinstance(value, dict) else 'items'} ".encode())
            for item in value.items() if isinstance(value, dict) else value:
                add(item)
        else:
            digest.update(f"{value!r} ".encode())

    add(content)
    return digest.hexdigest()


def newest(directory, names):
    """The newest of these models' checkpoints under a directory, or None."""
    files = [path_of(directory, name) for name in names]
    return max((file for file in files if file.exists()), key=lambda file: file.stat().st_mtime, default=None)
