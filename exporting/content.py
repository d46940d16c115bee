"""The files of an exported directory: graphs, arrays, model.json, and the pages of code that read them.

An n-gram is known by its key, a hash. Keys are stored as sorted numbers: the lower bits as they are, the upper ones as
the zeros before each bit of a bit vector (Elias 1974). Most n-grams have the same few counts, so that each has an index
into a table of distinct counts, the most frequent first.
"""

import json
import shutil
import zlib
from pathlib import Path

import numpy as np

from cli.installation import versions
from engine.checkpoint import ENSEMBLE
from exporting import features, outputs, predict_onnx
from exporting.graph import graph_of
from exporting.plain_data import calibration_content, n_gram_settings
from exporting.pruning import telling
from exporting.quantization import quantized
from models import LINEAR
from models.counts import Counts, keys_from_bytes
from models.tables import KEY_BITS
from text.wordpieces import WordPieces

PACKAGES = ("torch", "numpy", "onnx", "onnxruntime")
README = """# {name}

Classifies texts in {classes} classes, exported {how}.

    python -m pip install {packages}
    python predict_onnx.py 一条新闻

In Python: `from predict_onnx import Predict`, then `Predict(directory).predict("一条新闻")`.
`model.json` has the classes and the vocabulary, {files} the weights and n-grams.
Versions: {versions}.
"""


def write_export(saved, directory, quantize=None, texts=()):
    """Writes the files of a `checkpoint.Classifier` or `Ensemble` into a directory that exists.

    quantize: `int8`, or None for float32. texts: those of the training split; with int8 they show which n-grams
    can be left out.
    """
    directory, members, vocabularies = Path(directory), [], {}
    for i, (member, share) in enumerate(zip(saved.members, saved.shares, strict=True), 1):
        suffix = f"_{i}" if len(saved.members) > 1 else ""
        own = member_content(member, directory, suffix, quantize, texts)
        index = vocabularies.setdefault(member.vocabulary.digest, (len(vocabularies), member.vocabulary))[0]
        members.append({"share": float(share), "vocabulary": index, **own})
    found, calibration = versions(*PACKAGES), calibration_content(saved)
    content = {
        "format": predict_onnx.FORMAT,
        "model": saved.name,
        "versions": found,
        "quantize": quantize,
        "classes": list(saved.classes),
        "hierarchical": saved.calibration.hierarchical,
        "multi_label": saved.multi_label,
        "thresholds": calibration["thresholds"],
        "temperatures": calibration["temperatures"] if saved.name == ENSEMBLE else None,  # a member has its own
        "members": members,
        "vocabularies": [vocabulary_content(vocabulary) for _, vocabulary in vocabularies.values()],
    }
    content["checksum"] = predict_onnx.checksum_of(content)
    text = json.dumps(content, ensure_ascii=False, indent=1)
    (directory / "model.json").write_text(text, encoding="utf-8", errors="backslashreplace")  # as JSON escapes
    for module in (predict_onnx, features, outputs):
        shutil.copyfile(module.__file__, directory / Path(module.__file__).name)
    needed = ["numpy", "onnxruntime", *sorted({vocabulary.package for _, vocabulary in vocabularies.values()} - {None})]
    files = sorted(path.name for path in directory.iterdir() if path.suffix in (".onnx", ".npz"))
    text = README.format(
        name=saved.name,
        classes=len(saved.classes),
        how=f"with {quantize} weights" if quantize else "in float32",
        packages=" ".join(needed),
        files=", ".join(f"`{name}`" for name in files),
        versions=", ".join(f"{name} {version}" for name, version in found.items()),
    )
    (directory / "README.md").write_text(text, encoding="utf-8")


def member_content(member, directory, suffix, quantize, texts):
    """Writes the graph and the arrays of a Classifier, and returns what model.json has of it."""
    model = graph_of(member)
    if quantize:
        model = quantized(model)
    graph = model.SerializeToString()
    (directory / f"model{suffix}.onnx").write_bytes(graph)
    content = {
        "model": member.name,
        "graph": f"model{suffix}.onnx",
        "checksum": zlib.crc32(graph),
        "temperatures": calibration_content(member)["temperatures"],
        "truncation": member.config.truncation._asdict(),
        "n_grams": None,
    }
    if member.name in LINEAR or member.config.n_grams_per_token:
        is_linear = member.name in LINEAR
        settings, arrays = linear_arrays(member, quantize) if is_linear else counts_arrays(member, quantize, texts)
        content["n_grams"] = {"file": f"n_grams{suffix}.npz", **settings}
        write = np.savez_compressed if quantize else np.savez  # the former takes longer to read
        write(directory / f"n_grams{suffix}.npz", **arrays)
    return content


def vocabulary_content(vocabulary):
    if isinstance(vocabulary, WordPieces):
        return vocabulary.content  # the tokenizer's JSON
    return vocabulary.content | {"unk": vocabulary.unk, "marks_words": vocabulary.marks_words}


def counts_arrays(member, quantize, texts):
    """What model.json has of a network's n-grams, and their arrays."""
    model = member.model
    counts = Counts.unpacked(model.content)
    keys, rows = counts.dictionary()
    if quantize and texts:
        kept = telling(member, texts)
        keys, rows = keys[kept], rows[kept]
    distinct, index = np.unique(counts.table(), axis=0, return_inverse=True)  # the first one is that of unknown n-grams
    index = index.ravel()
    rows = np.append(index[rows], 0)
    order = np.argsort(-np.bincount(rows[:-1], minlength=len(distinct)), kind="stable")
    order = np.append(0, order[order != 0])
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    rows, distinct = rank[rows], distinct[order]
    owners, classes = distinct.nonzero()
    bits, arrays = key_arrays(keys, quantize)
    arrays |= {
        "rows": bytes_of(rows),
        "sizes": smallest(np.bincount(owners, minlength=len(distinct))),
        "classes": smallest(classes),
        "counts": smallest(distinct[owners, classes]),
        "class_rows": counts.class_rows,
        "factors": model.roots.detach().square().numpy(),
    }
    return {"kind": "evidence", "key_bits": bits} | n_gram_settings(model, counts), arrays


def linear_arrays(member, quantize):
    """What model.json has of a linear model's n-grams, and their arrays."""
    model = member.model
    bits, arrays = key_arrays(keys_from_bytes(model.content["keys"].numpy()), quantize)
    if hasattr(model, "idf"):
        arrays["idf"], index = np.unique(model.idf.numpy(), return_inverse=True)
        arrays["idf_index"] = smallest(index)
    settings = {"kind": member.name, "longest": model.longest, "words": model.words, "key_bits": bits}
    return settings, arrays


def key_arrays(keys, quantize):
    """How many bits of the keys are stored, and the arrays of sorted keys, (F,), with one more that is the largest.

    With int8 so few bits are kept that an unknown n-gram passes for a known one with probability 1/1024 to 1/2048.
    """
    bits, low = (10 + len(keys).bit_length(), np.uint8) if quantize else (KEY_BITS, np.uint32)
    keys = np.append(keys >> (KEY_BITS - bits), 1 << bits)
    positions = (keys >> (8 * np.dtype(low).itemsize)) + np.arange(len(keys))
    high = np.zeros(positions[-1] + 1, bool)
    high[positions] = True
    return bits, {"low": keys.astype(low), "high": np.packbits(high)}


def smallest(values):
    """Numbers from 0 on in the smallest type for them."""
    return values.astype(np.min_scalar_type(values.max(initial=0)))


def bytes_of(values):
    """The bytes of numbers, the lowest first, as an array each, which compresses better: (F,) -> (bytes, F) uint8."""
    size = max(1, (int(values.max(initial=0)).bit_length() + 7) // 8)
    return np.stack([(values >> 8 * i).astype(np.uint8) for i in range(size)])
