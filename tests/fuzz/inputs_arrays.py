"""Files of vectors with changes: embedding_*.npz, and the vocab.pkl of the earlier toolkit."""

import io
import pickle
import pickletools
import shutil
import struct
import zipfile

import numpy as np

from tests.fuzz.inputs_text import Case, files_of, replace_file
from tests.fuzz.mutations import ODD_TEXTS, Hostile, change_tree, damage_bytes

COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
HEADERS = (
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 8), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (60, 1000000000), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (60, -8), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999999999999, 9999999999999999999999), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': 60, }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1.5, True), }",
    "{'descr': '<f4', 'fortran_order': 'x', 'shape': (60, 8), }",
    "{'descr': '<U1000000000', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '|V0', 'fortran_order': False, 'shape': (60, 8), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (60, 8), }",
    "{'descr': [('a', '<f4'), ('b', '<i4')], 'fortran_order': False, 'shape': (60, ), }",
    "{'descr': '<M8[ns]', 'fortran_order': False, 'shape': (60, 4), }",
    "{'descr': None, 'fortran_order': False, 'shape': (60, 8), }",
    "{'descr': '<f4'}",
    "[1, 2]",
    "",
    "(" * 4000,
    "-" * 9000 + "1",
    "{" * 90 + "}" * 90,
    "\x00",
)
DTYPES = ("<f2", ">f4", "<f8", "<c8", "<i8", "|b1", "<u1", "|S8", "<U8", "<M8[s]", "<g")


def npz(rng, base, directory):
    """An embedding_*.npz that is damaged, has other arrays, or has members that no NumPy writes."""
    path = directory / "embedding_x.npz"
    name = rng.choice(("plain.npz", "compressed.npz"))
    content = (base / "vectors" / name).read_bytes()
    way = rng.random()
    if way < 0.02:
        what = "unchanged"
    elif way < 0.4:
        content, what = damage_bytes(rng, content, files_of(base))
    elif way < 0.7:
        content, what = other_arrays(rng, content, directory)
    else:
        content, what = other_members(rng, content)
    path.write_bytes(content)
    if way > 0.98:
        what = replace_file(rng, path)
    return Case(what, {})


def other_arrays(rng, content, directory):
    """The bytes of an .npz file whose arrays have other shapes, types or numbers."""
    with np.load(io.BytesIO(content)) as file:
        arrays = dict(file)
    embeddings, tokens = arrays["embeddings"], arrays["tokens"]
    odd = np.array([rng.choice(ODD_TEXTS[:-1]) for _ in tokens])
    with np.errstate(all="ignore"):
        changes = {
            "dtype": lambda: {"embeddings": embeddings.astype(rng.choice(DTYPES))},
            "numbers": lambda: {"embeddings": np.where(embeddings > 0, rng.choice((np.nan, np.inf, 1e38)), embeddings)},
            "large": lambda: {"embeddings": embeddings.astype(np.float64) * 1e300},
            "equal": lambda: {"embeddings": np.full_like(embeddings, rng.choice((0, 1, 3e38)))},
            "shape": lambda: {"embeddings": embeddings.reshape(rng.choice(((-1,), (1, -1), (-1, 1), (1, 60, 8))))},
            "wide": lambda: {"embeddings": np.zeros((len(tokens), 20_000), np.float16)},
            "very wide": lambda: {"embeddings": np.zeros((1, 5_000_000), np.int8), "tokens": tokens[:1]},
            "no rows": lambda: {"embeddings": embeddings[:0], "tokens": tokens[:0]},
            "fewer rows": lambda: {"embeddings": embeddings[:7]},
            "scalar": lambda: {rng.choice(("embeddings", "tokens")): np.array(rng.choice((1.5, "x", True)))},
            "objects": lambda: {
                rng.choice(("embeddings", "tokens")): np.array([[1], None, Hostile(directory)], object)
            },
            "tokens of another type": lambda: {"tokens": np.arange(len(tokens)).astype(rng.choice(DTYPES))},
            "tokens with two axes": lambda: {"tokens": tokens[:, None]},
            "odd tokens": lambda: {"tokens": odd},
            "equal tokens": lambda: {"tokens": tokens[[0] * len(tokens)]},
            "no tokens": lambda: {"tokens": None},
            "no embeddings": lambda: {"embeddings": None},
            "other names": lambda: {"embeddings": None, "vectors": embeddings},
        }
        name = rng.choice(list(changes))
        arrays |= changes[name]()
    file = io.BytesIO()
    save = np.savez_compressed if rng.random() < 0.5 else np.savez
    save(file, **{key: array for key, array in arrays.items() if array is not None})
    return file.getvalue(), name


def other_members(rng, content):
    """The bytes of an .npz file with a member whose header or compression is odd."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(members))
    action = rng.choice(("header", "header", "damage", "length", "name", "twice", "flags"))
    if action == "header":
        header = rng.choice(HEADERS)
        members[name], action = npy(header, members[name][128:]), f"header {header:.60}"
    elif action == "damage":
        members[name], action = damage_bytes(rng, members[name], [b"", *members.values()])
    elif action == "length":
        members[name] = members[name][:8] + struct.pack("<H", rng.choice((0, 1, 65535))) + members[name][10:]
    elif action == "name":
        members[rng.choice(("", "../x.npy", "embeddings", "x/embeddings.npy", "\x00.npy"))] = members.pop(name)
    file, compression = io.BytesIO(), rng.choice(COMPRESSIONS)
    with zipfile.ZipFile(file, "w", compression) as archive:
        for key, data in members.items():
            archive.writestr(zipfile.ZipInfo(key), data, compression)
        if action == "twice":
            archive.writestr(zipfile.ZipInfo("x"), b"")
            archive.infolist()[-1].filename = name
    content = bytearray(file.getvalue())
    if action == "flags":  # encrypted, or a compression that nobody knows, in the directory and in the member
        offset, value = rng.choice(((8, 1), (10, 99), (10, 12)))
        for mark, shift in ((b"PK\x01\x02", 0), (b"PK\x03\x04", -2)):
            place = content.find(mark)
            content[place + offset + shift] = value
        action = f"flags {offset} {value}"
    return bytes(content), f"member {name}: {action}"


def npy(header, data):
    """The bytes of a .npy file with this header."""
    header = header.encode() + b"\n"
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header)) + header + data


def pickled(rng, base, directory):
    """A vocab.pkl beside an .npz file without tokens."""
    shutil.copyfile(base / "vectors" / "old.npz", directory / "embedding_x.npz")
    path = directory / "vocab.pkl"
    content = (base / "vectors" / "vocab.pkl").read_bytes()
    way = rng.random()
    if way < 0.02:
        what = "unchanged"
    elif way < 0.45:
        content, what = damage_bytes(rng, content, files_of(base))
    elif way < 0.8:
        tree, what = other_vocabulary(rng, pickle.loads(content))
        content = pickle.dumps(tree, rng.choice((2, 4, 5)))
    else:
        content, what = other_pickle(rng, content, directory)
    path.write_bytes(content)
    if way > 0.98:
        what = replace_file(rng, path)
    return Case(what, {})


def other_vocabulary(rng, tree):
    """A dict from token to row with other keys, values or type."""
    first = next(iter(tree))
    extra = (b"x", (1, 2), frozenset({1}), 1 + 2j, {1, 2}, 10**5000, -(10**5000), 1.0, ("x",) * 10_000)
    changes = {
        "a value": lambda: tree | {first: rng.choice(extra)},
        "a key": lambda: {rng.choice((b"x", (1, 2), 1.5, None, 10**5000, *ODD_TEXTS)): i for i in tree.values()},
        "an odd key": lambda: {(rng.choice(ODD_TEXTS) if i == 3 else key): i for key, i in tree.items()},
        "booleans": lambda: {key: bool(i) for key, i in tree.items()},
        "large": lambda: {key: i + 2**62 for key, i in tree.items()},
        "reversed": lambda: {key: -i for key, i in tree.items()},
        "more": lambda: tree | {f"词{i}": len(tree) + i for i in range(1000)},
        "all": lambda: rng.choice(extra),
        "pairs": lambda: list(tree.items()),
        "tree": lambda: change_tree(rng, tree)[0],
    }
    name = rng.choice(list(changes))
    return changes[name](), name


def other_pickle(rng, content, directory):
    """The bytes of a pickle that Python does not write."""
    deep = rng.choice((100, 5000, 1_000_000))
    pickles = {
        "deep list": b"\x80\x02" + b"]" * deep + b"a" * (deep - 1) + b".",
        "deep dict": b"\x80\x02" + b"}K\x00" * deep + b"}" + b"s" * deep + b".",
        "memo index": b"\x80\x02}r" + struct.pack("<I", rng.choice((2**20, 2**28, 2**31 - 1, 2**32 - 1))) + b".",
        "text memo index": b"\x80\x02}p" + rng.choice((b"1000000000", b"-1", b"9" * 5000)) + b"\n.",
        "length of bytes": b"\x80\x05\x8e" + struct.pack("<Q", rng.choice((2**40, 2**63 - 1, 2**64 - 1))) + b"x.",
        "length of text": b"\x80\x05\x8d" + struct.pack("<Q", rng.choice((2**40, 2**63 - 1))) + b"x.",
        "length of bytearray": b"\x80\x05\x96" + struct.pack("<Q", rng.choice((2**33, 2**40, 2**63 - 1))) + b"x.",
        "frame": b"\x80\x05\x95" + struct.pack("<Q", rng.choice((2**33, 2**40, 2**64 - 1))) + b"}.",
        "long number": b"\x80\x05\x8b" + struct.pack("<i", rng.choice((2**31 - 1, -1))) + b"\x01.",
        "text number": b"I" + b"9" * 100_000 + b"\n.",
        "a function": pickle.dumps(Hostile(directory), 2),
        "a class": b"ccollections\nOrderedDict\n)R.",
        "a persistent object": b"Px\n.",
        "extension": b"\x82\x01.",
        "tokens of protocol 0": pickletools.optimize(pickle.dumps(pickle.loads(content), 0)),
        "references": b"\x80\x02]q\x00" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(30)) + b".",
    }
    name = rng.choice(list(pickles))
    return pickles[name], name
