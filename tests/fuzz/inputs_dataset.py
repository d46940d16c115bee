"""Datasets of one label a row, or of any number, with changes."""

import shutil

from tests.fuzz.inputs_text import Case, change_text, files_of, move_lines, odd_text, replace_file
from tests.fuzz.mutations import damage_json

FLAGS = (
    [],
    ["--word"],
    ["--word", "--segmenter", "space"],
    ["--max_vocab", "1"],
    ["--pad_size", "1"],
    ["--class_weight", "balanced"],
    ["--long", "head_tail", "--pad_size", "4"],
    ["--long", "windows", "--pad_size", "4"],
)
PATHS = ("a/", "a/b/", "/", "a//", "a/" * 40)  # before the name of a class

MOST_LINES = 1000  # of a file that is checked


def dataset(rng, base, directory, name, source="dataset"):
    """A dataset in which the file of this name is changed. source: the dataset's directory in `base`."""
    shutil.copytree(base / source, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("cache"))
    path = directory / "data" / name
    options = {"flags": rng.choice(FLAGS)}
    way = rng.random()
    if way < 0.02:
        return Case("unchanged", options)
    if way < 0.06:
        return Case(replace_file(rng, path), options)
    if name == "dataset.json":
        content, what = damage_json(rng, path.read_bytes(), files_of(base))
    else:
        change = class_lines if name == "class.txt" else row_lines if source == "dataset" else label_lines
        content, what = change_text(rng, path.read_bytes(), base, change)
    path.write_bytes(content)
    return Case(what, options)


def checked(rng, base, directory):
    """A dataset of one label a row, or of any number, in which one of the files is changed."""
    source = rng.choice(("dataset", "several"))
    name = rng.choice(("class.txt", "train.txt", "train.txt", "dev.txt", "test.txt", "dataset.json"))
    if name == "dataset.json":
        source = "several"
    (directory / "dataset").mkdir()
    case = dataset(rng, base, directory / "dataset", name, source)
    path = directory / "dataset" / "data" / name
    if path.is_file():  # few rows, so that the check ends in a moment
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:MOST_LINES]))
    return Case(case.mutation if case.mutation == "unchanged" else f"{source}/{name}: {case.mutation}", case.options)


def class_lines(rng, lines):
    """Changes the names in a class.txt."""
    action = rng.choice(("move", "odd", "odd", "numbers", "many", "paths", "tab"))
    if action == "move" or not lines:
        return move_lines(rng, lines)
    place = rng.randrange(len(lines))
    if action == "odd":
        lines[place] = odd_text(rng)
        return f"class {place} is {lines[place]!r:.40}"
    if action == "numbers":
        lines[:] = [str(i + rng.choice((0, 1))) for i in range(len(lines))]
    elif action == "many":
        lines += [f"类{i}" for i in range(rng.choice((300, 20_000)))]
    elif action == "paths":
        lines[:] = [rng.choice(PATHS) + line for line in lines]
    else:
        lines[place] += "\t" + odd_text(rng)
    return f"classes: {action}"


def row_lines(rng, lines):
    """Changes the rows of a labelled file."""
    action = rng.choice(("move", "label", "label", "text", "tab", "no tab"))
    if action == "move" or not lines:
        return move_lines(rng, lines)
    place = rng.randrange(len(lines))
    text, _, label = lines[place].partition("\t")
    odd = odd_text(rng)
    if action == "label":
        lines[place] = f"{text}\t{odd}"
    elif action == "text":
        lines[place] = f"{odd}\t{label}"
    elif action == "tab":
        lines[place] = f"{text}\t{odd}\t{label}"
    else:
        lines[place] = text + odd
    return f"{action} of row {place}: {odd!r:.40}"


def label_lines(rng, lines):
    """Changes the lists of labels in a labelled file."""
    if rng.random() < 0.3 or not lines:
        return row_lines(rng, lines)
    place = rng.randrange(len(lines))
    text, _, field = lines[place].partition("\t")
    labels, odd = field.split(","), odd_text(rng)
    action = rng.choice(("added", "added", "repeated", "empty", "none", "many", "separated"))
    if action == "added":
        labels.insert(rng.randrange(len(labels) + 1), rng.choice(("0", "2", "财经", " 房产 ", odd)))
    elif action == "repeated":
        labels *= rng.choice((2, 10_000))
    elif action == "empty":
        labels.insert(rng.randrange(len(labels) + 1), "")
    elif action == "none":
        labels = []
    elif action == "many":
        labels = [str(i) for i in range(5000)]
    mark = rng.choice((";", "，", "、", ", ", ",,", " ")) if action == "separated" else ","
    lines[place] = f"{text}\t{mark.join(labels)}"
    return f"labels {action} in row {place}: {odd!r:.40}"
