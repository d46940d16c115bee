"""Served models: a checkpoint or an exported directory, with what requests need of either.

An exported directory is predicted with `exporting.predict_onnx`, for which torch is not loaded.
"""

import datetime
import hashlib
import os
import sys
from pathlib import Path
from typing import NamedTuple

from cli.console import UserError
from cli.files import digest_of
from engine.explanation import Explanation
from serving.batcher import THREADS
from serving.formatting import Formatter

DIGITS = 16  # of a version
KERNELS = "64"  # of the CPU that are cached; oneDNN's 1,024 for batches of all shapes take hundreds of megabytes
SUFFIXES = (".json", ".onnx", ".npz")  # of the files of an exported directory that are read
WARM_UP = "预热"  # the first prediction takes longer than the others


class Served(NamedTuple):
    """A model under a name. It is never changed: a reload replaces it."""

    name: str  # in requests
    path: Path  # a checkpoint or an exported directory
    kind: str  # the name of its architecture, such as TextCNN
    predictor: object  # `engine.predictor.Predict`, or one with what this uses of it
    formatter: Formatter
    explanation: Explanation
    version: str  # of the file, a digest
    loaded: str  # time, ISO 8601


def load(name, path, device="auto", amp="auto", share=1.0):
    """Loads a model and predicts once with it. Raises UserError if the file is not valid.

    share: of the cores that this process computes on.
    """
    path, cores = Path(path), max(1, int(share * (os.cpu_count() or 1)))
    version = version_of(path)  # before it is read: a file that is replaced meanwhile then counts as changed
    if path.is_dir():
        from serving.exported import Exported

        predictor = Exported(path, cores)
        kind = predictor.name
    else:
        import torch  # which an exported directory does not need

        from engine.predictor import Predict

        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", KERNELS)  # read when the first kernel runs
        torch.set_num_threads(cores)
        predictor = Predict(checkpoint=path, device=device, amp=amp)
        kind = predictor.saved.name
    predictor.compute([WARM_UP])
    loaded = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Served(name, path, kind, predictor, Formatter(predictor), Explanation(predictor), version, loaded)


def share_cores(models):
    """How many threads are to predict with these models; sets on how many cores torch computes in each."""
    workers, cores = min(served.predictor.workers for served in models)
    threads = min(workers, THREADS)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(workers * cores // threads)
    return threads


def version_of(path):
    """The first digits of the SHA-256 of a checkpoint, or of the files of an exported directory."""
    if not path.is_dir():
        return digest_of(path)[:DIGITS]
    digests = [digest_of(file) for file in sorted(path.iterdir()) if file.suffix in SUFFIXES]
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:DIGITS]


def named_paths(pairs):
    """Paths by name, of `NAME=PATH` arguments. Raises UserError for another form, and for two equal names."""
    found = {}
    for pair in pairs:
        name, _, path = pair.partition("=")
        if not name or not path or name in found:
            raise UserError(f"--models {pair}: expected NAME=PATH, and each name once")
        found[name] = Path(path)
    return found
