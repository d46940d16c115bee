"""Changes to bytes, texts and trees of values. Each returns the changed copy and a short description."""

import copy
import json
import math
import os

ODD_TEXTS = (
    "",
    " ",
    "\u3000",
    "\x00",
    "\ufeff",
    "\u2028",
    "\x1c\x85\v\f",
    "\ud800",
    "\U0010ffff",
    "a\u0300" * 500,
    "👨‍👩‍👧",
    "\u202e",
    "<UNK>",
    "<PAD>",
    "[SEP]",
    "-",
    "%s{0}",
    "../../x",
    "字" * 100_000,
)
ODD_NUMBERS = ("-1", "3", "99", "01", "+1", "1.0", "1e0", "0x1", "1_0", "１", "²", "٣", "½", "nan", "1e999", "9" * 5000)
WRONG_VALUES = (
    None,
    True,
    False,
    0,
    1,
    -1,
    7,
    1000,
    10**6,
    2**31,
    2**63,
    10**12,
    10**40,
    0.5,
    -0.5,
    1e300,
    math.nan,
    math.inf,
    "",
    "x",
    "1",
    "\x00",
    "\ud800",
    "x" * 100_000,
    [],
    {},
    [None],
    [[]],
    [1, "x"],
    {"a": 1},
    list(range(3000)),
)
OWNED = "owned"  # the directory that `Hostile` makes
DEEP = "@deep@"  # stands for deep nesting in a tree that becomes JSON
DEPTHS = (50, 500, 2000, 100_000)


class Hostile:
    """Makes a directory if a file is unpickled without care; `kinds.run_target` looks for it."""

    def __init__(self, directory):
        self.path = str(directory / OWNED)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def short(value):
    """A value in a description."""
    try:
        return repr(value)[:60]
    except ValueError:  # Python writes no integer of more than 4300 digits
        return f"a {type(value).__name__}"


def damage_bytes(rng, content, others):
    """A file's bytes after one to three damages. others: contents of other files."""
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        damage = rng.choice(DAMAGES)
        content, what = damage(rng, content)
        done.append(what)
    if rng.random() < 0.08:
        return rng.choice(others), "content of another file"
    return content, ", ".join(done)


def _span(rng, content, most=64):
    start = rng.randrange(len(content) + 1)
    if rng.random() < 0.3:  # the beginning and the end have headers and directories
        start = min(len(content), rng.randrange(64)) if rng.random() < 0.5 else max(0, len(content) - rng.randrange(64))
    return start, min(len(content), start + rng.randrange(1, most))


def flip_bits(rng, content):
    content, places = bytearray(content), []
    for _ in range(rng.choice((1, 1, 2, 8)) if content else 0):
        place = rng.randrange(len(content))
        content[place] ^= 1 << rng.randrange(8)
        places.append(place)
    return bytes(content), f"bits flipped at {places}"


def set_bytes(rng, content):
    start, end = _span(rng, content, 8)
    value = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, 0x0A, 0x09, 0x22))
    return content[:start] + bytes([value]) * (end - start) + content[end:], f"bytes {start} to {end} set to {value}"


def set_integer(rng, content):
    """Large integers where a format has a length or an offset."""
    start, _ = _span(rng, content)
    size = rng.choice((2, 4, 8))
    value = rng.choice((2 ** (8 * size) - 1, 2 ** (8 * size - 1) - 1, 2 ** (4 * size), 0))
    return content[:start] + value.to_bytes(size, "little") + content[start + size :], f"integer {value} at {start}"


def set_random(rng, content):
    start, end = _span(rng, content)
    return content[:start] + rng.randbytes(end - start) + content[end:], f"bytes {start} to {end} random"


def truncate(rng, content):
    end = rng.randrange(len(content) + 1) if rng.random() < 0.7 else max(0, len(content) - rng.randrange(1, 40))
    return content[:end], f"cut after {end} of {len(content)} bytes"


def remove_span(rng, content):
    start, end = _span(rng, content, 400)
    return content[:start] + content[end:], f"bytes {start} to {end} removed"


def repeat_span(rng, content):
    start, end = _span(rng, content, 400)
    times = rng.choice((2, 2, 10, 1000))
    return content[:start] + content[start:end] * times + content[end:], f"bytes {start} to {end} {times} times"


def insert_bytes(rng, content):
    start, _ = _span(rng, content)
    odd = rng.choice(
        (*[text.encode("utf-8", "surrogatepass") for text in ODD_TEXTS[:12]], b"\xff", b"\r", b"\t", b"\n")
    )
    return content[:start] + odd + content[start:], f"{odd[:20]!r} inserted at {start}"


def append_bytes(rng, content):
    return content + rng.randbytes(rng.choice((1, 40, 5000))), "random bytes appended"


def remove_all(rng, content):
    return b"", "empty"


def move_span(rng, content):
    start, end = _span(rng, content, 400)
    rest = content[:start] + content[end:]
    place = rng.randrange(len(rest) + 1)
    return rest[:place] + content[start:end] + rest[place:], f"bytes {start} to {end} moved to {place}"


DAMAGES = (
    flip_bits,
    flip_bits,
    flip_bits,
    set_bytes,
    set_integer,
    set_random,
    truncate,
    truncate,
    remove_span,
    repeat_span,
    insert_bytes,
    append_bytes,
    move_span,
    remove_all,
)


TEXT_DAMAGES = (truncate, remove_span, repeat_span, move_span)


def damage_text(rng, text):
    """A text after one to three damages that leave it a text."""
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if rng.random() < 0.5:
            start, end = _span(rng, text, rng.choice((2, 30)))
            odd = rng.choice((*ODD_TEXTS, *ODD_NUMBERS, '"', ",", "\t", "\n", "\r", "{", "]"))
            text = text[: rng.choice((start, end))] + odd + text[end:]
            what = f"{odd!r:.30} at {start}"
        else:
            text, what = rng.choice(TEXT_DAMAGES)(rng, text)
        done.append(what)
    return text, ", ".join(done)


def recode(rng, text):
    """A text's bytes in another encoding or with other line ends."""
    encoding = rng.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "gb18030", "big5", "utf-32", "utf-7"))
    ends = rng.choice(("\n", "\r\n", "\r", "\n\n", "\u2028", "\x00\n"))
    content = text.replace("\n", ends).encode(encoding, "replace")
    return content, f"encoded as {encoding} with line ends {ends!r}"


def change_tree(rng, tree, values=WRONG_VALUES):
    """A copy of nested dicts and lists after one to three changes. values: what a value may become."""
    tree, done = copy.deepcopy(tree), []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        path = _path(rng, tree)
        if not path:
            tree, what = copy.deepcopy(rng.choice(values)), "all"
        else:
            parent = tree
            for key in path[:-1]:
                parent = parent[key]
            what = _change(rng, parent, path[-1], values)
        done.append(f"{'.'.join(str(key)[:30] for key in path)}: {what}")
    return tree, "; ".join(done)


def _path(rng, tree):
    """The keys that lead to a part of a tree."""
    path = []
    while isinstance(tree, (dict, list)) and tree and (not path or rng.random() < 0.8):
        if rng.random() < 0.01:
            break
        path.append(rng.choice(list(tree)) if isinstance(tree, dict) else rng.randrange(len(tree)))
        tree = tree[path[-1]]
    return path


def _change(rng, parent, key, values):
    action = rng.choice(("replace", "replace", "replace", "remove", "copy", "rename", "nest", "repeat"))
    if action == "remove":
        del parent[key]
    elif action == "copy":  # another value of the same parent
        parent[key] = copy.deepcopy(parent[rng.choice(list(parent)) if isinstance(parent, dict) else 0])
    elif action == "rename" and isinstance(parent, dict):
        name = rng.choice(("x", f"{key}x", "", "\ud800", "format", "model", "weights"))
        parent[name] = parent.pop(key)
        return f"renamed to {name!r}"
    elif action == "nest":
        parent[key] = rng.choice(([parent[key]], {"x": parent[key]}, DEEP))
    elif action == "repeat" and isinstance(parent[key], (list, str)):
        parent[key] = parent[key] * rng.choice((2, 1000))
    else:
        parent[key] = copy.deepcopy(rng.choice(values))
        return f"replaced by {short(parent[key])}"
    return action


def to_json(rng, tree):
    """A tree as the bytes of JSON, sometimes with nesting or numbers that Python does not write."""
    text = json.dumps(tree, ensure_ascii=rng.random() < 0.5)
    depth = rng.choice(DEPTHS)
    odd = rng.choice(("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "9" * 5000, "1e999", "-0", "NaN"))
    return text.replace(f'"{DEEP}"', odd).encode("utf-8", "surrogatepass")


def damage_json(rng, content, others):
    """The bytes of a JSON file, changed as a tree or, less often, as bytes."""
    if rng.random() < 0.25:
        return damage_bytes(rng, content, others)
    tree, what = change_tree(rng, json.loads(content), (*WRONG_VALUES, DEEP))
    return to_json(rng, tree), what
