"""Text files with changes: texts to predict, vectors as text, a corpus. Some of them are packed."""

import bz2
import contextlib
import csv
import functools
import gzip
import io
import json
import os
from typing import NamedTuple

from tests.fuzz.mutations import DEEP, ODD_NUMBERS, ODD_TEXTS, change_tree, damage_bytes, damage_text, recode, to_json

PACKERS = {".gz": lambda content: gzip.compress(content, mtime=0), ".bz2": bz2.compress}


ENCODINGS = (None,) * 8 + ("utf-8", "gb18030", "utf-16", "utf-7", "idna", "rot13", "")  # of --encoding


class Case(NamedTuple):
    """An input: what was changed, and what its target takes besides the directory."""

    mutation: str  # "unchanged" if the project must accept the input
    options: dict
    damaged: bool = False  # whether an accepted input must give the same result as the file before the change


def replace_file(rng, path):
    """Puts no file, a directory or a link to itself in the place of a file."""
    path.unlink()
    kind = rng.choice(("no file", "a directory", "a link to itself"))
    if kind == "a directory":
        path.mkdir()
    elif kind == "a link to itself":
        with contextlib.suppress(OSError):  # Windows may refuse links
            os.symlink(path, path)
    return kind


@functools.cache
def files_of(base):
    """The contents of the undamaged files."""
    paths = (path for path in sorted(base.rglob("*")) if path.is_file() and "cache" not in path.parts)
    return [path.read_bytes() for path in paths]


def change_text(rng, content, base, change):
    """A text file's bytes after damage, in another encoding, or with changed lines."""
    way = rng.random()
    if way < 0.15:
        return damage_bytes(rng, content, files_of(base))
    text = content.decode()
    if way < 0.25:
        return recode(rng, text)
    if way < 0.4:
        text, what = damage_text(rng, text)
        return text.encode("utf-8", "surrogatepass"), what
    lines, done = text.splitlines(), []
    for _ in range(rng.choice((1, 1, 2, 5))):
        done.append(change(rng, lines))
    end = rng.choice(("\n", "\n", "\n", "", "\r\n"))
    return (end or "\n").join([*lines, ""] if end else lines).encode("utf-8", "surrogatepass"), ", ".join(done)


def odd_text(rng):
    return rng.choice((*ODD_TEXTS, *ODD_NUMBERS))


def move_lines(rng, lines):
    """Removes, repeats or joins lines."""
    actions = ["removed", "joined", "blank"]
    if sum(map(len, lines)) < 20_000:  # the input must stay one that is read in a moment
        actions += ["repeated", "all repeated"]
    place, action = rng.randrange(len(lines) + 1), rng.choice(actions)
    if action == "removed":
        del lines[place : place + rng.choice((1, 10, 1000))]
    elif action == "repeated":
        lines[place:place] = lines[place : place + 1] * rng.choice((1, 5000))
    elif action == "all repeated":
        lines *= 100
    elif action == "joined":
        lines[place : place + 3] = ["".join(lines[place : place + 3])]
    else:
        lines[place:place] = [rng.choice(("", " ", "\t", "\r"))] * rng.choice((1, 5000))
    return f"lines {action} at {place}"


def text_lines(rng, lines):
    """Changes lines that are texts."""
    if rng.random() < 0.5 or not lines:
        return move_lines(rng, lines)
    place = rng.randrange(len(lines))
    lines[place] = rng.choice((odd_text(rng), lines[place] + odd_text(rng)))
    return f"line {place} is {lines[place]!r:.40}"


def vector_lines(rng, lines):
    """Changes the lines of a file of vectors in word2vec's format."""
    action = rng.choice(("move", "header", "number", "number", "token", "width", "wide"))
    if action == "move" or not lines:
        return move_lines(rng, lines)
    place, odd = rng.randrange(len(lines)), odd_text(rng)
    fields = lines[place].split(" ")
    if action == "header":
        header = rng.choice((f"{odd} 8", f"60 {odd}", f"{odd} {odd}", "60 8 1", "60"))
        lines[:1] = [header] if rng.random() < 0.5 else [header, lines[0]]
        return f"header {header!r:.40}"
    if action == "number":
        fields[rng.randrange(len(fields))] = odd
    elif action == "token":
        fields[0] = odd
    elif action == "width":
        fields = fields[: rng.randrange(len(fields) + 1)] + ["1"] * rng.choice((0, 1, 20))
    else:
        fields += ["0.5"] * rng.choice((1000, 200_000))
    lines[place] = " ".join(fields)
    return f"{action} of line {place}: {odd!r:.40}"


def packed(rng, base, directory, name, content, mutation):
    """Writes a text file, perhaps packed and damaged after that. Returns its name and the mutation."""
    if rng.random() < 0.7:
        (directory / name).write_bytes(content)
        return name, mutation
    suffix = rng.choice(list(PACKERS))
    name += suffix
    way = rng.random()
    if way < 0.4:
        content = PACKERS[suffix](content)
    elif way < 0.43:
        content, mutation = PACKERS[suffix](bytes(1 << 22)) * 768, "a line of 3 GB"
    elif way < 0.8:
        content, what = damage_bytes(rng, PACKERS[suffix](content), files_of(base))
        mutation = f"packed: {what}"
    elif way < 0.9:
        content, mutation = PACKERS[suffix](content[:100]) + PACKERS[suffix](content[100:]), f"{mutation}, two members"
    else:
        mutation = f"{mutation}, not packed"
    (directory / name).write_bytes(content)
    return name, mutation


def text_file(rng, base, directory, name, change):
    """A text file, plain or packed, with changes. name: its name in `base`; the new one may end in .gz or .bz2."""
    content = (base / name).read_bytes()
    if rng.random() < 0.02:
        (directory / name).write_bytes(content)
        return Case("unchanged", {"name": name})
    content, what = change_text(rng, content, base, change)
    name, what = packed(rng, base, directory, name, content, what)
    if rng.random() < 0.02:
        what = replace_file(rng, directory / name)
    return Case(what, {"name": name})


def table(rng, base, directory, name):
    """A .csv or .tsv file, read with a column that may not be there, and perhaps with an encoding that is named."""
    delimiter = "," if name.endswith(".csv") else "\t"
    rows = list(csv.reader(io.StringIO((base / name).read_text(encoding="utf-8")), delimiter=delimiter))
    done = []
    for _ in range(rng.choice((0, 1, 1, 2))):
        place = rng.randrange(len(rows)) if rng.random() < 0.9 else 0
        odd = rng.choice((*ODD_TEXTS, *ODD_NUMBERS, 'a"b', '"', "a,b", "a\nb", "a\rb", "text"))
        row = rows[place]
        action = rng.choice(("cell", "more cells", "fewer cells", "many cells", "blank"))
        if action == "cell" and row:
            row[rng.randrange(len(row))] = odd
        elif action == "more cells":
            row.append(odd)
        elif action == "fewer cells":
            del row[-1:]
        elif action == "many cells":
            row += [f"c{i}" for i in range(5000)]
        else:
            row.clear()
        done.append(f"{action} in row {place}: {odd!r:.30}")
    file = io.StringIO()
    quote = '"' if rng.random() < 0.5 and done else ""  # cells that are not quoted as they should be
    for row in rows:
        file.write(delimiter.join(f"{quote}{cell}{quote}" for cell in row) + "\n")
    content = file.getvalue().encode("utf-8", "surrogatepass")
    if not done or rng.random() < 0.1:
        content, what = change_text(rng, (base / name).read_bytes(), base, text_lines)
        done = [what]
    name, what = packed(rng, base, directory, name, content, ", ".join(done))
    column = rng.choice(("text",) * 9 + ("title", "字", "x" * 5000))
    return Case(what, {"name": name, "column": column, "encoding": rng.choice(ENCODINGS)})


def json_lines(rng, base, directory, name):
    """A .jsonl file."""
    lines = (base / name).read_bytes().splitlines()
    done = []
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = rng.randrange(len(lines))
        tree, what = change_tree(rng, json.loads((base / name).read_bytes().splitlines()[place]))
        if rng.random() < 0.3:
            tree = {"text": odd_text(rng), "more": rng.choice((DEEP, tree))}
        lines[place] = to_json(rng, tree)
        done.append(f"line {place}: {what}")
    content = b"\n".join(lines)
    if rng.random() < 0.2:
        content, what = change_text(rng, (base / name).read_bytes(), base, text_lines)
        done = [what]
    name, what = packed(rng, base, directory, name, content, ", ".join(done))
    return Case(what, {"name": name, "column": rng.choice(("text",) * 9 + ("title",))})


def json_array(rng, base, directory, name):
    """A .json file with an array of objects."""
    tree, done = json.loads((base / name).read_bytes()), []
    if rng.random() < 0.5:
        tree, what = change_tree(rng, tree)
        done.append(what)
    elif rng.random() < 0.5:
        place = rng.randrange(len(tree))
        tree[place] = {"text": odd_text(rng), "label": rng.choice((DEEP, tree[place]))}
        done.append(f"object {place} is {tree[place]!r:.40}")
    content = to_json(rng, tree).replace(b"}, {", rng.choice((b"}, {", b"},\r\n{", b"}{", b"},\n,{", b"}\n]{")))
    if rng.random() < 0.3:
        content, what = change_text(rng, content.decode("utf-8", "replace").encode(), base, text_lines)
        done.append(what)
    name, what = packed(rng, base, directory, name, content, ", ".join(done))
    return Case(what, {"name": name})
