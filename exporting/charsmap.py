"""Aliases of characters as a normalizer of the library `tokenizers`, which has none that maps many characters at once.

`Precompiled` takes the tables of SentencePiece: a trie of the characters' UTF-8 bytes as a double array (Aoe 1989), and
the texts that take their place. In a double array the node after a byte is at the node's base XOR the byte. The unit of
a node has the byte in its lowest 8 bits, then a bit that says that a leaf follows, and from bit 10 on its index XOR its
base. A leaf has the position of the text.

The library looks up graphemes of less than 6 bytes by their first character, and so loses a combining mark after it.
A `NOTHING` before each mark makes it a grapheme of its own. Aliases read no `NOTHING`, thus all are removed afterwards.
"""

import struct

from tokenizers import Regex
from tokenizers.normalizers import Precompiled, Replace

from text.aliases import NOTHING

LEAF, HAS_LEAF, BASE = 1 << 31, 1 << 8, 10  # of a leaf; of the node before it; the first bit of its base
BYTES = 256
# marks, also of a later Unicode, and other characters that belong to the one before: sounds, skin tones, tags
MARKS = r"[\p{M}\p{Cn}\x{0E33}\x{0EB3}\x{FF9E}\x{FF9F}\x{1F3FB}-\x{1F3FF}\x{E0020}-\x{E007F}]"


def normalizers_of(pairs):
    """The normalizers that read a text as the aliases in a string of pairs say, to be applied one after the other."""
    separate = Replace(Regex(rf"(?!\A)(?={MARKS})"), NOTHING)  # the library cannot insert before the first character
    return [separate, Precompiled(charsmap_of(pairs)), Replace(NOTHING, "")]


def charsmap_of(pairs):
    """The `precompiled_charsmap` of the aliases in a string of pairs."""
    texts, trie = bytearray(), {}
    for character, form in zip(pairs[::2], pairs[1::2], strict=True):
        if character == NOTHING:  # ends a text there
            continue
        node = trie
        for byte in character.encode():
            node = node.setdefault(byte, {})
        node[0] = len(texts)
        texts += form.replace(NOTHING, "").encode() + b"\0"
    units = double_array(trie)
    return struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + bytes(texts)


def double_array(trie):
    """The units of a trie, a dict of dicts by bytes in which 0 has a number, with one for any byte after each node."""
    units, used, waiting, base = [0] * BYTES, {0}, [(0, trie)], 0
    while waiting:
        index, node = waiting.pop()
        base += 1  # each node has its own, otherwise it would have the children of another one
        while any(base ^ byte in used for byte in node):
            base += 1
        units += [0] * (base - len(units) + BYTES)
        used.update(base ^ byte for byte in node)
        units[index] |= (index ^ base) << BASE | HAS_LEAF * (0 in node)
        for byte, child in node.items():
            if byte:
                units[base ^ byte] = byte
                waiting.append((base ^ byte, child))
            else:
                units[base] = LEAF | child
    return units
