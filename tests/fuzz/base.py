"""The undamaged files from which inputs are made."""

import json
import pickle
import shutil

import numpy as np
import torch
import transformers
from safetensors.torch import load_file

from tests.conftest import join_rows, sample_rows, write_dataset, write_encoder
from tests.fuzz import targets

CLASSES = ("财经", "房产", "股票")
SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "intermediate_size": 8, "max_position_embeddings": 40}


def write_base(directory):
    """Writes the undamaged files into a directory, the same each time."""
    rows = [sample_rows(name, {0, 1, 2}, count) for name, count in (("train", 90), ("dev", 30), ("test", 30))]
    write_dataset(directory / "dataset", CLASSES, *rows)
    write_several(directory / "several")
    write_texts(directory, [text for text, _ in rows[0]])
    write_labelled(directory, [(i, text.replace(",", "，"), CLASSES[label]) for i, (text, label) in enumerate(rows[0])])
    write_vectors(directory / "vectors", directory / "dataset")
    write_saved(directory)
    for kind in ("Bert", "Electra", "Albert", "Ernie"):
        write_encoders(directory / "encoders" / kind.lower(), kind)


def write_several(directory):
    """A dataset of any number of labels a row."""
    write_dataset(directory, CLASSES, *(join_rows(*part) for part in (("train", 90), ("dev", 30), ("test", 30))))
    (directory / "data" / "dataset.json").write_text('{"multi_label": true}', encoding="utf-8")


def write_texts(directory, texts):
    """A text a line, and the same texts as tables and as JSON."""
    (directory / "corpus.txt").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    texts = texts[:20]
    (directory / "input.txt").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    for name, mark in (("input.csv", ","), ("input.tsv", "\t")):
        lines = [mark.join(("id", "text", "title")), *(mark.join((str(i), text, "x")) for i, text in enumerate(texts))]
        (directory / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    lines = [json.dumps({"id": i, "text": text, "tags": ["x"]}, ensure_ascii=False) for i, text in enumerate(texts)]
    (directory / "input.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_labelled(directory, rows):
    """Labelled rows, of an id, a text and a class, as tables, as JSON and in fastText's format."""
    columns = ("id", "text", "label")
    for name, mark in (("labelled.csv", ","), ("labelled.tsv", "\t")):
        lines = "".join(f"{mark.join(map(str, row))}\n" for row in (columns, *rows))
        (directory / name).write_text(lines, encoding="utf-8")
    lines = [json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) for row in rows]
    (directory / "labelled.json").write_text(f"[{', '.join(lines)}]", encoding="utf-8")
    (directory / "labelled.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    lines = "".join(f"__label__{label} {text}\n" for _, text, label in rows)
    (directory / "labelled.txt").write_text(lines, encoding="utf-8")


def write_vectors(directory, dataset):
    """Vectors as text, as .npz, and with the vocab.pkl of the earlier toolkit."""
    directory.mkdir()
    tokens = sorted(set((dataset / "data" / "train.txt").read_text(encoding="utf-8")) - set(" \t\n"))[:60]
    embeddings = np.random.default_rng(1).normal(size=(60, 8)).astype(np.float32)
    lines = [f"{tokens[i]} {' '.join(f'{number:.4f}' for number in embeddings[i])}\n" for i in range(60)]
    (directory.parent / "vectors.txt").write_text("60 8\n" + "".join(lines), encoding="utf-8")
    np.savez(directory / "plain.npz", embeddings=embeddings, tokens=np.array(tokens))
    np.savez_compressed(directory / "compressed.npz", embeddings=embeddings, tokens=np.array(tokens))
    np.savez_compressed(directory / "old.npz", embeddings=embeddings)
    (directory / "vocab.pkl").write_bytes(pickle.dumps({token: i for i, token in enumerate(tokens)}))


def write_saved(directory):
    """Checkpoints of an earlier version, in the fixtures, and of today; states of today: others have other defaults."""
    checkpoints, states = directory / "checkpoints", directory / "states"
    checkpoints.mkdir()
    states.mkdir()
    for path in sorted(targets.FIXTURES.glob("*.ckpt")):
        shutil.copyfile(path, checkpoints / path.name)
        targets.save_again(path, checkpoints / f"{path.stem}-new.ckpt")
    for model in targets.TRAINING:
        checkpoint, state = targets.save_state(directory, directory / "run", model)
        shutil.copyfile(checkpoint, checkpoints / f"{model}-new.ckpt")
        content = targets.read_saved(state)
        content["progress"] |= {"log": "2026-01-01_00.00.00", "seconds": 1.0}  # which are other ones each time
        targets.write_saved(states / f"{model}-new.resume", content, sealed=True)
    labels = targets.train_linear(directory / "several", directory / "run")
    shutil.copyfile(labels, checkpoints / "SVM-labels-new.ckpt")
    shutil.rmtree(directory / "run")


def write_encoders(directory, kind):
    """An encoder whose weights are in one file of each format, and in several files."""
    more = {"embedding_size": 4} if kind in ("Electra", "Albert") else {}
    names = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json")
    one, binary, several = (directory / name for name in names)
    model = write_encoder(one, kind, **SIZES, **more)
    targets.write_tokenizer(one)
    shutil.copytree(one, binary, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save(load_file(one / "model.safetensors"), binary / "pytorch_model.bin")
    shutil.copytree(one, several, ignore=shutil.ignore_patterns("*.safetensors"))
    transformers.logging.disable_progress_bar()
    model.save_pretrained(several, max_shard_size="4KB")
