"""Checkpoints and states with changes: damaged bytes, and other content that is saved again."""

import collections
import io
import json
import pickle
import struct
import zipfile

import torch

from tests.fuzz import targets
from tests.fuzz.encoder_json import HUGE, change_config, change_tokenizer
from tests.fuzz.inputs_text import Case, files_of, replace_file
from tests.fuzz.mutations import DEEP, ODD_TEXTS, WRONG_VALUES, Hostile, change_tree, damage_bytes, short, to_json

SIZES = ("embed", "pad_size", "num_filters", "bigram_vocab", "hidden_size", "num_layers", "n_gram_vocab", "n_grams")
TENSORS = (
    lambda: torch.zeros(()),
    lambda: torch.zeros(0),
    lambda: torch.zeros(3, dtype=torch.int64),
    lambda: torch.zeros(2, dtype=torch.complex64),
    lambda: torch.zeros(2, dtype=torch.bool),
    lambda: torch.zeros(1).expand(10**12),  # one number in the file
    lambda: torch.zeros(1).expand(10**6, 10**6),
    lambda: torch.eye(3).to_sparse(),
    lambda: torch.zeros(2, device="meta"),
    lambda: torch.nn.Parameter(torch.zeros(2)),
)
OBJECTS = (
    lambda: (1, 2),
    lambda: {1, 2},
    lambda: b"x",
    lambda: 1 + 2j,
    lambda: collections.OrderedDict(a=1),
    lambda: collections.Counter(a=1),
    lambda: torch.float32,
    lambda: torch.Size([2]),
    lambda: torch.device("cpu"),
    lambda: {1: 2, (1, 2): 3, None: 4},
    lambda: 10**5000,
)


def checkpoint(rng, base, directory):
    """A .ckpt file with changes."""
    source = rng.choice(sorted((base / "checkpoints").iterdir()))
    path = directory / "model.ckpt"
    options = {"source": str(source)}
    return saved(rng, base, source, path, options, lambda tree: other_checkpoint(rng, tree))


def state(rng, base, directory):
    """The checkpoint and the state of an interrupted run; the state has changes."""
    source = rng.choice(sorted((base / "states").iterdir()))
    (directory / "saved_dict").mkdir()
    model = source.stem.split("-")[0]
    path = directory / "saved_dict" / f"{model}.resume"
    path.with_suffix(".ckpt").write_bytes((base / "checkpoints" / f"{source.stem}.ckpt").read_bytes())
    options = {"source": str(source), "model": model}
    return saved(rng, base, source, path, options, lambda tree: other_state(rng, tree))


def saved(rng, base, source, path, options, change):
    """Writes a file of torch that is damaged, has other content, or has other members."""
    content, way = source.read_bytes(), rng.random()
    if way < 0.02:
        path.write_bytes(content)
        return Case("unchanged", options, damaged=True)
    if way < 0.4:
        content, what = damage_bytes(rng, content, files_of(base))
        path.write_bytes(content)
        return Case(f"{source.name}: {what}", options, damaged="another file" not in what)
    if way < 0.5:
        content, what = other_members(rng, content, path)
        path.write_bytes(content)
        has_digest = "-new" in source.name
        return Case(f"{source.name}: {what}", options, damaged=has_digest)
    if way > 0.99:
        path.write_bytes(content)
        return Case(replace_file(rng, path), options)
    tree, what = change(targets.read_saved(source))
    sealed = rng.random() < 0.6
    targets.write_saved(path, tree, sealed)
    return Case(f"{source.name}: {what}{'' if sealed else ', without a digest'}", options)


def values(rng):
    """What a value of a saved file may become."""
    return (*WRONG_VALUES, rng.choice(TENSORS)(), rng.choice(TENSORS)(), rng.choice(OBJECTS)(), rng.choice(OBJECTS)())


def change_saved(rng, tree):
    tree, what = change_tree(rng, tree, values(rng))
    return without_marks(tree), what


def without_marks(tree):
    """The tree with nested lists in the place of `DEEP`."""
    if isinstance(tree, dict):
        return type(tree)((key, without_marks(value)) for key, value in tree.items())
    if isinstance(tree, list):
        return [without_marks(value) for value in tree]
    if not isinstance(tree, str) or tree != DEEP:
        return tree
    nested = []
    for _ in range(200):  # pickle writes no more
        nested = [nested]
    return nested


def other_checkpoint(rng, tree):
    """The content of a checkpoint with a change that keeps it readable."""
    if rng.random() < 0.4:
        return change_saved(rng, tree)
    parts = ("fields", "config", "config", "weights", "weights", "vocabulary", "classes", "model", "encoder")
    part = rng.choice((*parts, "calibration"))
    if part == "fields":
        return other_fields(rng, tree)
    if part == "config":
        name = rng.choice((*SIZES, *tree["config"]))
        value = rng.choice(HUGE)
        if name == "filter_sizes":
            value = rng.choice(([2] * 200_000, list(range(1, 2000)), [10**9], [0], ["2"], [2.5], (2, None), value))
        tree["config"][name] = value
        return tree, f"config.{name} {short(value)}"
    if part == "weights":
        return other_weights(rng, tree)
    if part == "vocabulary":
        return other_tokens(rng, tree)
    if part == "encoder":
        tree["encoder"], what = change_config(rng, tree["encoder"] or {"model_type": "bert", "hidden_size": 4})
        return tree, f"encoder {what}"
    if part == "calibration":
        rows = {name: torch.tensor([0.5, value]) for name, value in (("confidences", 1), ("of_labels", 0))}
        rows |= {name: torch.tensor([0, 1], dtype=torch.int32) for name in ("predicted", "labels")}
        tree["calibration"], what = change_saved(rng, {"temperature": 1.5} | rows)
        return tree, f"calibration {what}"
    if part == "model":
        tree["model"] = rng.choice(
            ("TextRNN", "DPCNN", "Transformer", "bert", "ERNIE", "../run", "base", "", ["TextCNN"])
        )
        return tree, f"model {tree['model']!r}"
    options = (
        ["财经"],
        ["财经"] * 3,
        [1, 2, 3],
        [None] * 3,
        "财经股",
        [],
        [*"abc"] * 20_000,
        ["\ud800", "a\tb", "a\nb"],
        3,
    )
    tree["classes"] = rng.choice((*options, {"a": 1, "b": 2, "c": 3}, [["a"], ["b"], ["c"]], ["", " ", "x" * 10**6]))
    return tree, f"classes {short(tree['classes'])}"


def other_fields(rng, tree):
    """Content without a field, with a field more, or with a field of another type."""
    name, action = rng.choice(list(tree)), rng.choice(("removed", "replaced", "added", "all removed"))
    if action == "removed":
        del tree[name]
    elif action == "replaced":
        tree[name] = rng.choice(values(rng))
    elif action == "added":
        tree[rng.choice(("x", 1, None, (1, 2), "\ud800"))] = rng.choice(values(rng))
    else:
        tree = rng.choice(values(rng))
    return tree, f"{name} {action}"


def other_weights(rng, tree):
    """Weights with other names, shapes, types or numbers."""
    weights = tree["weights"]
    name = rng.choice(list(weights))
    weight = weights[name]
    changes = {
        "no text as name": lambda: {rng.choice((1, None, (1, 2), b"x", 1.5)): weights.pop(name)},
        "name": lambda: {rng.choice((f"{name}x", "", name + "." * 1000, "\ud800")): weights.pop(name)},
        "missing": lambda: {"": weights.pop(name)},
        "NaN": lambda: {name: torch.full_like(weight, float("nan"))},
        "infinite": lambda: {name: torch.full_like(weight, float("inf"))},
        "one NaN": lambda: {name: torch.where(torch.arange(weight.numel()).view_as(weight) == 0, float("nan"), weight)},
        "large": lambda: {name: torch.full_like(weight, 3e38)},
        "tensor": lambda: {name: rng.choice(TENSORS)()},
        "value": lambda: {name: rng.choice(WRONG_VALUES)},
        "dtype": lambda: {name: weight.to(rng.choice((torch.int8, torch.bool, torch.complex64, torch.float64)))},
        "expanded": lambda: {name: torch.zeros(1).expand(weight.shape)},
        "transposed": lambda: {name: weight.flatten()},
    }
    action = rng.choice(list(changes))
    weights |= changes[action]()
    return tree, f"weights.{name} {action}"


def other_tokens(rng, tree):
    """A vocabulary with other tokens."""
    vocabulary = tree["vocabulary"]
    if "tokens" not in vocabulary:
        rules, what = change_tokenizer(rng, json.loads(vocabulary["tokenizer"]))
        vocabulary["tokenizer"] = to_json(rng, rules).decode("utf-8", "surrogatepass")
        return tree, f"tokenizer {what}"
    tokens = vocabulary["tokens"]
    place = rng.randrange(len(tokens))
    action = rng.choice(("token", "token", "token", "equal", "more", "segmenter", "aliases", "both"))
    if action == "token":
        tokens[place] = rng.choice((*ODD_TEXTS, "ab", 7, None, b"x", ["x"], ("x",), torch.zeros(1)))
    elif action == "equal":
        tokens[place] = tokens[0]
    elif action == "more":
        vocabulary["tokens"] = tokens * rng.choice((2, 10_000))
    elif action == "segmenter":
        vocabulary["segmenter"] = rng.choice(("space", "jieba", "", None, 1, ["char"], "x" * 10_000))
    elif action == "aliases":
        vocabulary["aliases"] = rng.choice((*ODD_TEXTS, "愛爱", "愛\0", 7, None, ["愛"]))
    else:
        vocabulary["tokenizer"] = rng.choice(("", "{}", "x", 1, None))
    return tree, f"vocabulary {action} {tokens[place]!r:.30}"


def other_state(rng, tree):
    """The content of a state with a change that keeps it readable."""
    way = rng.random()
    if way < 0.3:
        return change_saved(rng, tree)
    if way < 0.45:
        return other_fields(rng, tree)
    if way < 0.6 and "weights" in tree:
        return other_weights(rng, tree)
    fingerprint = "fingerprint" if "fingerprint" in tree else "settings"  # its name in the fixtures
    part = rng.choice((fingerprint, "progress", "progress", "optimizers", "optimizers", "random"))
    if part == "progress":
        name = rng.choice(list(tree["progress"]))
        tree["progress"][name] = rng.choice((*HUGE, *values(rng), "../x", "a/b", -(10**9)))
        return tree, f"progress.{name} {short(tree['progress'][name])}"
    if part == "random":
        tree["random"] = rng.choice((*values(rng), torch.zeros(3, dtype=torch.uint8), tree["random"].long()))
        return tree, "random"
    tree[part], what = change_saved(rng, tree[part])
    return tree, f"{part} {what}"


def other_members(rng, content, path):
    """A file of torch whose members are removed, exchanged, or made by hand."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(members)).split("/")[0]
    name = rng.choice(list(members))
    action = rng.choice(("removed", "exchanged", "damaged", "pickle", "pickle", "compressed", "nested", "hostile"))
    deep = rng.choice((1000, 100_000))
    if action == "removed":
        del members[name]
    elif action == "exchanged":
        members[name] = members[rng.choice(list(members))]
    elif action == "damaged":
        members[name], action = damage_bytes(rng, members[name], [b"", *members.values()])
    elif action == "nested":
        members[f"{root}/data.pkl"] = b"\x80\x02" + b"]" * deep + b"a" * (deep - 1) + b"."
    elif action == "hostile":
        members[f"{root}/data.pkl"] = pickle.dumps({"format": 1, "x": Hostile(path.parent)}, 2)
    elif action == "pickle":
        texts = (
            b"\x80\x02}r" + struct.pack("<I", 2**31),
            b"\x80\x02I" + b"9" * 5000 + b"\n.",
            b"\x80\x02.",
            b"\x80\x02K\x01.",
        )
        members[f"{root}/data.pkl"] = rng.choice(texts)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if action == "compressed" else zipfile.ZIP_STORED) as archive:
        for key, data in members.items():
            archive.writestr(zipfile.ZipInfo(key), data)
    return file.getvalue(), f"member {name} {action}"
