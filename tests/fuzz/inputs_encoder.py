"""Directories of encoders in which one file is changed."""

import json
import shutil
import struct

import torch
from safetensors.torch import load_file, save_file

from tests.fuzz.encoder_json import change_config, change_tokenizer
from tests.fuzz.inputs_saved import TENSORS, other_members
from tests.fuzz.inputs_text import Case, change_text, files_of, odd_text, replace_file, text_lines
from tests.fuzz.mutations import WRONG_VALUES, change_tree, damage_bytes, damage_json, to_json

SCRIPTS = ("pretrain_run.py", "pretrain_run.py", "pretrain_mlm.py")
KINDS = ("bert", "bert", "electra", "albert", "ernie")


def encoder(rng, base, directory, name):
    """An encoder's directory in which the file of this name is changed."""
    kind = rng.choice(KINDS)
    weights = name if name.startswith(("model.", "pytorch_model")) else rng.choice(("model.safetensors",) * 2 + WEIGHTS)
    source = base / "encoders" / kind / weights
    shutil.copytree(source, directory, dirs_exist_ok=True)
    if not name.startswith("tokenizer.") and rng.random() < 0.5:
        (directory / "tokenizer.json").unlink()
    elif name == "tokenizer.json" and rng.random() < 0.5:
        (directory / "vocab.txt").unlink()
    options = {"script": rng.choice(SCRIPTS), "flags": []}
    path = directory / name
    way = rng.random()
    if way < 0.02:
        return Case("unchanged", options)
    if way < 0.05:
        return Case(f"{kind}: {replace_file(rng, path)}", options)
    content, what = CHANGES[name](rng, path.read_bytes(), base, path)
    path.write_bytes(content)
    return Case(f"{kind}: {what}", options)


def config(rng, content, base, path):
    if rng.random() < 0.4:
        return damage_json(rng, content, files_of(base))
    tree, what = change_config(rng, json.loads(content))
    return to_json(rng, tree), what


def pieces(rng, content, base, path):
    if rng.random() < 0.7:
        return change_text(rng, content, base, text_lines)
    lines = content.decode().splitlines()
    place = rng.randrange(len(lines))
    lines[place] = odd_text(rng) if rng.random() < 0.7 else lines[0]
    return "\n".join(lines).encode("utf-8", "surrogatepass"), f"piece {place} {lines[place]!r:.40}"


def tokenizer(rng, content, base, path):
    if rng.random() < 0.5:
        return damage_json(rng, content, files_of(base))
    tree, what = change_tokenizer(rng, json.loads(content))
    return to_json(rng, tree), what


def tokenizer_config(rng, content, base, path):
    return damage_json(rng, content, files_of(base))


def index(rng, content, base, path):
    """The list of the files that hold the weights, or one of these files."""
    if rng.random() < 0.3:
        shard = rng.choice(sorted(path.parent.glob("model-*.safetensors")))
        data, what = safetensors(rng, shard.read_bytes(), base, shard)
        shard.write_bytes(data)
        return content, f"{shard.name}: {what}"
    if rng.random() < 0.6:
        return damage_json(rng, content, files_of(base))
    tree = json.loads(content)
    names = tree["weight_map"]
    odd = ("../x", "/etc/hostname", "", ".", "config.json", "model.safetensors", "x\x00", "x" * 5000, 1, None, ["x"])
    names[rng.choice(list(names))] = rng.choice(odd)
    return to_json(rng, tree), "weight_map"


def safetensors(rng, content, base, path):
    """The bytes of a .safetensors file with another header or with other weights."""
    way = rng.random()
    if way < 0.3:
        return damage_bytes(rng, content, files_of(base))
    size = struct.unpack("<Q", content[:8])[0]
    header, data = content[8 : 8 + size], content[8 + size :]
    if way < 0.4:
        size = rng.choice((0, 1, size - 1, size + 1, len(content), 2**31, 2**63 - 1, 2**64 - 1, 100_000_001))
        return struct.pack("<Q", size) + header + data, f"size of header {size}"
    if way < 0.7:
        tree, what = change_tree(rng, json.loads(header))
        if rng.random() < 0.3:
            entry = tree[rng.choice(list(tree))] if isinstance(tree, dict) and tree else {}
            if isinstance(entry, dict):
                entry["dtype"] = rng.choice(("F16", "BF16", "F64", "I64", "BOOL", "F8_E4M3", "C64", "F4", "x"))
        header = to_json(rng, tree)
        return struct.pack("<Q", len(header)) + header + data, f"header {what}"
    weights, what = other_weights(rng, load_file(path))
    save_file({key: weight.contiguous() for key, weight in weights.items()}, path)
    return path.read_bytes(), what


def binary(rng, content, base, path):
    """The bytes of a pytorch_model.bin with other weights or members."""
    way = rng.random()
    if way < 0.3:
        return damage_bytes(rng, content, files_of(base))
    if way < 0.5:
        return other_members(rng, content, path)
    weights = torch.load(path, weights_only=True)
    name = rng.choice(list(weights))
    if way < 0.7:
        weights, what = other_weights(rng, weights)
    elif way < 0.8:
        weights[name], what = rng.choice(TENSORS)(), f"{name}: another tensor"
    elif way < 0.9:
        weights[name], what = rng.choice(WRONG_VALUES), f"{name}: no tensor"
    else:
        trees = ({1: weights[name]}, {"model": weights}, [weights], weights[name], None, {}, {(1, 2): weights[name]})
        weights, what = rng.choice((*trees, weights | {1: weights[name]})), "another tree"
    torch.save(weights, path)
    return path.read_bytes(), what


def other_weights(rng, weights):
    """Weights with other names, shapes, types or numbers, all of them tensors of torch."""
    name = rng.choice(list(weights))
    weight = weights[name]
    changes = {
        "missing": lambda: {},
        "name": lambda: {rng.choice((f"{name}x", "x", f"module.{name}", f"a.{name}", name * 20)): weight},
        "added": lambda: {name: weight, rng.choice(("encoder.x", "embeddings.y.weight", "x")): weight.clone()},
        "NaN": lambda: {name: torch.full_like(weight, float("nan"))},
        "large": lambda: {name: torch.full_like(weight, 3e38)},
        "dtype": lambda: {name: weight.to(rng.choice((torch.float16, torch.bfloat16, torch.float64, torch.int8)))},
        "complex": lambda: {name: weight.to(rng.choice((torch.bool, torch.complex64, torch.int64)))},
        "shape": lambda: {name: rng.choice((weight.flatten(), weight[None], weight[:1], weight.new_zeros(0)))},
        "scalar": lambda: {name: weight.new_zeros(())},
    }
    action = rng.choice(list(changes))
    del weights[name]
    return weights | changes[action](), f"{name}: {action}"


WEIGHTS = ("pytorch_model.bin", "model.safetensors.index.json")
CHANGES = {
    "config.json": config,
    "vocab.txt": pieces,
    "tokenizer.json": tokenizer,
    "tokenizer_config.json": tokenizer_config,
    "model.safetensors": safetensors,
    "model.safetensors.index.json": index,
    "pytorch_model.bin": binary,
}
