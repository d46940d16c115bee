"""What a graph takes of texts: token ids, and the n-grams that end at each token as features. It needs numpy alone.

A model that marks words or reads words needs rjieba, one on an encoder tokenizers. Shapes: B rows, T tokens, N n-grams
of a token, F n-grams of the dictionary, C classes.
"""

import importlib
import itertools

import numpy as np

KEY_BITS, LEVELS = 40, 6  # of an n-gram's key; of how many training rows have an n-gram: 1, 2 to 3, … 32 or more
FACTORS = (1, 14918087, 18408749, 22801763, 27644437)  # of a token and of those before it, in an n-gram's number
FACTOR, INVERSE = 0x5851F42D4C957F2D, pow(0x5851F42D4C957F2D, -1, 1 << 64) - (1 << 64)  # of tokens in a word
WORDS = 2  # in the longest n-grams of words
PART, MOST_WINDOWS = 4, 16  # of a long text: the head is a PARTth of what is read, as is what two windows share
SPECIAL = ("[PAD]", "[CLS]", "[SEP]")


class ExportError(ValueError):
    """A directory that is no export, or a damaged one. The message is one line."""


def take(content, name, kind, is_valid=lambda value: True):
    """A field of model.json. Raises ExportError if it is missing or another value than the exporter writes."""
    value = content.get(name) if type(content) is dict else None
    if type(value) is not kind or not is_valid(value):
        found = repr(value) if len(repr(value)) < 60 else f"{repr(value)[:60]}…"
        raise ExportError(f"model.json: {name} is {found}, not a valid {kind.__name__}; export again")
    return value


def check(condition):
    if not condition:
        raise ValueError("arrays or tokens of another model")


def package(name):
    """A package that only some models need."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ExportError(f"this model needs {name}: python -m pip install {name}") from None


def valid(text):
    """A text with ? for each half of a surrogate pair, which the packages refuse."""
    return text.encode(errors="replace").decode()


def codes_of(texts):
    """The code points of texts, one after the other."""
    return np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), "<u4")


def offsets_of(lengths):
    """The offsets of rows of these lengths, (N,) -> (N + 1,)."""
    return np.concatenate(([0], np.fromiter(lengths, np.int64).cumsum()))


class Vocabulary:
    """Turns texts into token ids: one flat array, and the offsets of the texts in it.

    With `marks_words` an id is doubled, and odd where a word ends. Rare and unknown characters are read as known
    ones, their `aliases`, and those that are not shown are not read.
    """

    def __init__(self, content):
        self.tokenizer = self.cut = None
        aliases = take({"aliases": ""} | content, "aliases", str, lambda pairs: len(pairs) % 2 == 0)
        self.aliases = dict(zip(map(ord, aliases[::2]), (form.strip("\0") for form in aliases[1::2]), strict=True))
        self.is_alias = np.zeros(0x110000, bool)
        self.is_alias[list(self.aliases)] = True
        self.marks_words = "tokenizer" not in content and take(content, "marks_words", bool)
        if "tokenizer" in content:
            tokenizers = package("tokenizers")
            self.tokenizer = tokenizers.Tokenizer.from_str(take(content, "tokenizer", str))
            self.tokenizer.no_padding()
            self.tokenizer.no_truncation()
            self.tokenizer.encode_special_tokens = True  # a "[SEP]" in a text is text
            self.pad, self.first, self.end = ids = [self.tokenizer.token_to_id(token) for token in SPECIAL]
            check(None not in ids)
            return
        tokens = take(content, "tokens", list, lambda tokens: all(type(token) is str for token in tokens))
        self.segmenter = take(content, "segmenter", str, lambda name: name in ("char", "space", "jieba"))
        self.unk = take(content, "unk", int, lambda i: 0 <= i <= len(tokens))
        self.pad, self.end = len(tokens) + 1, None
        self.ids = {token: i + (i >= self.unk) for i, token in enumerate(tokens)}
        if self.marks_words or self.segmenter == "jieba":
            self.cut = package("rjieba").cut
        if self.segmenter == "char":
            self.table = np.full(0x110000, self.unk, np.int32)  # the id of each code point
            self.table[[ord(token) for token in self.ids]] = list(self.ids.values())

    def encode(self, texts):
        """The ids, (tokens,) int64, and the offsets, (texts + 1,), of a list of texts."""
        if self.is_alias[codes_of(texts)].any():  # a text of which nothing would be left becomes one unknown character
            texts = [text.translate(self.aliases) or (text and "\ufffd") for text in texts]
        if self.tokenizer:
            encodings = self.tokenizer.encode_batch_fast(list(map(valid, texts)), add_special_tokens=False)
            rows = [
                [self.first, *own.ids, self.end] if text else [] for own, text in zip(encodings, texts, strict=True)
            ]
        elif self.segmenter == "char":
            offsets = offsets_of(map(len, texts))
            ids = self.table[codes_of(texts)].astype(np.int64)
            if self.marks_words:
                lengths = np.fromiter((len(word) for text in texts for word in self.cut(valid(text))), np.int64)
                ids <<= 1
                ids[lengths.cumsum() - 1] += 1
            return ids, offsets
        else:
            rows = [[self.ids.get(word, self.unk) for word in self.words(text)] for text in texts]
        return np.fromiter(itertools.chain.from_iterable(rows), np.int64), offsets_of(map(len, rows))

    def words(self, text):
        return text.split() if self.segmenter == "space" else [w for w in self.cut(valid(text)) if not w.isspace()]


class NGrams:
    """The n-grams that a model knows: a dictionary of hashed keys, and what training counted, or the features' idf."""

    def __init__(self, settings, arrays):
        self.longest = take(settings, "longest", int, lambda n: 0 <= n <= len(FACTORS))
        self.words = take(settings, "words", int, lambda n: 0 <= n <= WORDS)
        self.kind = take(settings, "kind", str, lambda kind: kind in ("evidence", "SVM", "NBSVM"))
        self.bits = take(settings, "key_bits", int, lambda bits: 8 <= bits <= KEY_BITS)
        # each key is a bit of `high`, after as many zeros as its upper bits say, and its lower bits are in `low`
        low = arrays["low"]
        # (F + 1,) int64, the last one larger than all others
        self.keys = np.flatnonzero(np.unpackbits(arrays["high"]).view(bool))
        check(self.keys.shape == low.shape and low.dtype.kind == "u" and len(low) > 0)
        self.keys -= np.arange(len(low))
        self.keys <<= 8 * low.itemsize
        self.keys |= low
        check(self.keys[-1] == 1 << self.bits)
        if self.kind == "SVM":
            self.idf = arrays["idf"][arrays["idf_index"]]
            check(self.idf.dtype == np.float32 and self.idf.shape == low.shape)
        if self.kind == "evidence":
            self._read_counts(settings, arrays)

    def _read_counts(self, settings, arrays):
        self.rows = arrays["rows"]  # (bytes, F + 1) uint8, the row of each n-gram in the table, its lowest byte first
        self.sizes, self.classes, self.counts = (
            arrays[name].astype(np.int64) for name in ("sizes", "classes", "counts")
        )
        self.starts = offsets_of(self.sizes)  # of the counts of each row of the table
        self.factors, own = arrays["factors"], arrays["class_rows"].astype(np.float32)
        self.smoothing, total = take(settings, "smoothing", float, lambda a: a > 0), take(settings, "total_rows", int)
        self.has_total = take(settings, "has_total", bool)
        check(((own >= 0) & (own <= total)).all())
        self.prior = np.log((own + 1) / (total - own + 1))  # (C,)
        check(self.rows.dtype == np.uint8 and self.rows.shape[1:] == self.keys.shape and 0 < len(self.rows) <= 4)
        check(len(self.classes) == len(self.counts) == self.starts[-1] and self.sizes.min() >= 0)
        check(self.classes.max(initial=0) < len(own) + self.has_total)
        check(self.factors.shape == (self.longest + self.words, LEVELS) and self.factors.dtype == np.float32)
        # of each row of the table, filled when a text has it: a table of all would take longer than a headline
        self.is_filled = np.zeros(len(self.sizes), bool)
        self.ratios = np.empty((len(self.sizes), len(own)), np.float32)
        self.levels = np.empty(len(self.sizes), np.int64)

    def inputs(self, tokens, lengths, joints, ends):
        """What the graph takes of tokens, (B, T): their `evidence`, or the `ids` and `values` of their n-grams.

        lengths, joints: (B,), as from `Truncation.grid`; ends: (B, T), 1 where a word ends, None without marks.
        """
        found = self._find(tokens, joints, ends)
        found[np.arange(tokens.shape[1]) >= lengths[:, None]] = len(self.keys) - 1
        return self._evidence(found) if self.kind == "evidence" else self._features(found)

    def _find(self, tokens, joints, ends):
        """The index of the n-grams that end at each token in the dictionary, (B, T, N); F for unknown ones."""
        keys = keys_of(tokens, self.longest, joints)
        if self.words:
            own = np.full((self.words, *tokens.shape), -1) if ends is None else keys_of_words(tokens, ends, joints)
            keys = [*keys, *own[: self.words]]
        keys = np.stack(keys, axis=2)
        flat = keys.ravel() >> KEY_BITS - self.bits
        order = np.argsort(flat)
        ordered = flat[order]
        index = np.searchsorted(self.keys, ordered)
        index[self.keys[index] != ordered] = len(self.keys) - 1
        found = np.empty_like(index)
        found[order] = index
        return found.reshape(keys.shape)

    def _evidence(self, found):
        """The log-count ratios of found n-grams times their factors, (B, T, N * C) float32."""
        rows = sum(own[found].astype(np.int64) << 8 * i for i, own in enumerate(self.rows))
        known = np.flatnonzero(rows)  # row 0 is that of unknown n-grams
        own = rows.ravel()[known]
        self._fill(np.unique(own[~self.is_filled[own]]))
        factors = self.factors[known % rows.shape[2], self.levels[own]]
        evidence = np.zeros((rows.size, len(self.prior)), np.float32)
        evidence[known] = self.ratios[own] * factors[:, None]
        return {"evidence": evidence.reshape(*rows.shape[:2], -1)}

    def _fill(self, rows):
        """Computes the ratios and levels of rows of the table, (R,)."""
        sizes, a = self.sizes[rows], np.float32(self.smoothing)
        index = np.arange(sizes.sum()) + (self.starts[rows] - offsets_of(sizes)[:-1]).repeat(sizes)
        counts = np.zeros((len(rows), len(self.prior) + self.has_total), np.float32)
        counts[np.arange(len(rows)).repeat(sizes), self.classes[index]] = self.counts[index]
        counts, total = (counts[:, :-1], counts[:, -1:]) if self.has_total else (counts, counts.sum(1, keepdims=True))
        self.ratios[rows] = np.log((counts + a) / (total - counts + a)) - self.prior
        self.levels[rows] = np.searchsorted(1 << np.arange(1, LEVELS), total[:, 0], side="right")
        self.is_filled[rows] = True

    def _features(self, found):
        """The n-grams of each row for a linear model, as sorted indices, and their values, (B, M) each."""
        ids = np.sort(found.reshape(len(found), -1), axis=1)
        unknown = len(self.keys) - 1
        ids = np.ascontiguousarray(ids[:, : max(1, (ids < unknown).sum(axis=1).max())])
        numbers = np.cumsum(np.diff(ids, axis=1, prepend=-1).ravel() != 0)  # of the different n-grams
        repeats = np.bincount(numbers)[numbers].reshape(ids.shape).astype(np.float32)
        if self.kind == "NBSVM":
            return {"ids": ids, "values": 1 / repeats}
        values = (1 + np.log(repeats)) * self.idf[ids]
        norms = np.sqrt((values**2 / repeats).sum(axis=1, keepdims=True))
        return {"ids": ids, "values": values / repeats / np.maximum(norms, np.float32(1e-6))}


def keys_of(tokens, longest, joints):
    """The keys of the n-grams that end at each token, a list of (B, T). Before a row's first token there is -1.

    joints: (B,), the column at which a row's tail begins, which no n-gram spans; 0 for a row without a gap.
    """
    numbers, columns, keys = tokens, np.arange(tokens.shape[1]), []
    for i in range(longest):
        if i:
            before = np.full_like(tokens, -1)
            before[:, i:] = tokens[:, :-i]
            before[(columns >= joints[:, None]) & (columns - i < joints[:, None])] = -1
            numbers = numbers + before * FACTORS[i]
        keys.append(mixed(numbers * 8 + i + 1))
    return keys


def keys_of_words(tokens, ends, joints):
    """The keys of the words and of the pairs of words that end at each token, two of (B, T); -1 where no word ends.

    A word is a polynomial of its tokens, the difference of two sums over the row. ends: (B, T), 1 where a word ends.
    """
    columns = np.arange(tokens.shape[1])
    marks, ends = ends, ends | (columns == joints[:, None] - 1)
    powers, inverses = (np.full_like(columns, factor).cumprod() for factor in (FACTOR, INVERSE))
    count = ends.cumsum(axis=1)  # of words so far
    starts = np.zeros((len(tokens), len(columns) + 1), np.int64)  # of each word, by its number
    np.put_along_axis(starts, count * ends, (columns + 1) * ends, axis=1)
    starts = np.take_along_axis(starts, count - ends, axis=1)  # (B, T), of the word that a token is in
    sums = np.pad(((tokens + 1) * powers).cumsum(axis=1), ((0, 0), (1, 0)))
    own = mixed((sums[:, 1:] - np.take_along_axis(sums, starts, axis=1)) * inverses[starts])
    before = np.take_along_axis(np.pad(own, ((0, 0), (1, 0)), constant_values=-1), starts, axis=1)
    before[starts == joints[:, None]] = -1
    numbers = own, own + before * FACTORS[1]
    return [np.where(marks, mixed(own * 8 + i), -1) for i, own in enumerate(numbers, len(FACTORS) + 1)]


def mixed(keys):
    """Hashes below 2**40 of int64 numbers; products wrap around."""
    keys = (keys ^ (keys >> 29)) * -0x61C8864680B583EB
    keys = (keys ^ (keys >> 32)) * -0x3B314601E57A13AD
    return (keys >> (64 - KEY_BITS)) & ((1 << KEY_BITS) - 1)


class Truncation:
    """What is read of a row that is longer than `limit` tokens: its `head`, `head_tail`, or `windows` of it."""

    def __init__(self, content):
        self.limit = take(content, "limit", int, lambda limit: limit > 0)
        self.mode = take(content, "mode", str, lambda mode: mode in ("head", "head_tail", "windows"))
        framed = take(content, "framed", bool)
        self.head = max(1, self.limit // PART) if self.mode == "head_tail" else self.limit
        self.stride = max(1, self.limit - max(self.limit // PART, 2 * framed))  # from a window to the next one
        self.most = self.limit + (MOST_WINDOWS - 1) * self.stride if self.mode == "windows" else self.limit

    def windows(self, lengths):
        """The number of windows of rows of these lengths, (N,)."""
        return 1 - -np.maximum(np.minimum(lengths, self.most) - self.limit, 0) // self.stride

    def grid(self, vocabulary, ids, starts, lengths, windows):
        """The tokens that are read of windows of rows, (W, T) padded, their lengths and their joints, (W,) each.

        ids: (tokens,), of all rows; starts, lengths: (W,), of the rows there; windows: (W,), the index of each window.
        """
        rest = np.maximum(lengths - self.limit, 0)
        lengths = np.minimum(lengths, self.limit)
        columns = np.arange(lengths.max())
        positions = starts[:, None] + columns + np.minimum(windows * self.stride, rest)[:, None]
        if self.mode == "head_tail":
            positions += rest[:, None] * (columns >= self.head)
        if vocabulary.end is not None:
            positions[:, 0] = starts  # [CLS]
        tokens = ids[np.minimum(positions, len(ids) - 1)]
        tokens[columns >= lengths[:, None]] = vocabulary.pad << vocabulary.marks_words
        if vocabulary.end is not None:
            tokens[rest > 0, -1] = vocabulary.end
        return tokens, lengths, self.head * (rest > 0) * (self.mode == "head_tail")
