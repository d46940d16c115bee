"""Explanation: the characters that decided a prediction, by occlusion.

Each character in turn is replaced by one that no model knows, and the loss in log-odds of the predicted class is the
character's weight: Zeiler & Fergus 2014, https://arxiv.org/abs/1311.2901, on texts. It is the same for each model. In a
long text, spans of several characters are replaced together, so that there are at most `SPANS`. With several labels a
text, the most probable one is explained.
"""

import html
import itertools
import re

import numpy as np

from engine.temperature import TINY
from text.aliases import UNREAD

UNKNOWN = "\U0002a6a5"  # an ideograph that vocabularies lack, and that tokenizers of Chinese keep apart from others
READ = re.compile(f"[^{UNREAD}]")
SPANS = 128  # of a text that are replaced one after the other, at most
CHARACTERS = 1 << 20  # of texts with a replacement that are in memory at a time, and those of one text more
LONGEST_TOKEN = 8  # characters of a word or word piece, on average of a text at most
LEAST = 2**-24  # below which 1 - p of a float32 is 0
DECISIVE = 1 / 2  # of the largest weight, from which on a character is part of a span
FOR = (230, 223, 216, 208)  # colours of a terminal, of 256: orange, from faint to strong
AGAINST = (195, 153, 111, 69)  # blue


class Explanation:
    """Explains what a predictor predicts, as columns and texts of `predictions.Lines`.

    predictor: a `predictor.Predict`, or another object with `compute` and `multi_label` as there, and with
    `truncations`: of each member, the tokens' segmenter, None for word pieces, and the `Truncation`.
    """

    def __init__(self, predictor):
        self.predictor = predictor
        self.reach = [0, 0]  # characters of a long text that may be read, from its beginning and from its end
        for segmenter, truncation in predictor.truncations:
            size = 1 if segmenter == "char" else LONGEST_TOKEN
            self.reach = [max(own, size * most) for own, most in zip(self.reach, truncation.reach, strict=True)]

    def weights(self, texts, probabilities):
        """The weight of each text's characters, a list of (T,): above 0 for the predicted class, below 0 against it.

        probabilities: those of the texts, (N, C).
        """
        read = probabilities.any(axis=1)
        spans = [spans_to_replace(text, *self.reach) if read[i] else [] for i, text in enumerate(texts)]
        weights = [np.zeros(len(text)) for text in texts]
        sizes = np.array([len(text) * len(own) for text, own in zip(texts, spans, strict=True)])
        for _, group in itertools.groupby(np.flatnonzero(sizes), key=(sizes.cumsum() // CHARACTERS).__getitem__):
            rows = list(group)
            variants = [replaced(texts[i], *span) for i in rows for span in spans[i]]
            after = iter(self.predictor.compute(variants)[0])
            for i in rows:
                label = probabilities[i].argmax()
                before = log_odds(probabilities[i], label, self.predictor.multi_label)
                for start, end in spans[i]:
                    weights[i][start:end] = before - log_odds(next(after), label, self.predictor.multi_label)
        return weights

    def spans(self, texts, probabilities):
        """What decided each text's class, as a list of (start, end, weight): the largest of its characters."""
        return [decisive_spans(weights) for weights in self.weights(texts, probabilities)]

    def colours(self, texts, probabilities):
        """The texts with colours of a terminal: orange for the class, blue against it."""
        return self._marked(texts, probabilities, str, terminal_colour)

    def marks(self, texts, probabilities):
        """The texts as HTML with the same colours."""
        return self._marked(texts, probabilities, html.escape, html_colour)

    def _marked(self, texts, probabilities, escape, colour):
        runs = map(runs_of, self.weights(texts, probabilities))
        marked = []
        for text, own in zip(texts, runs, strict=True):
            parts = [(escape(text[start:end]), level) for start, end, level in own]
            marked.append("".join(colour(part, level) if level else part for part, level in parts))
        return marked


def spans_to_replace(text, first, last=0):
    """The spans that are replaced, one after the other: characters, or several of a long text; without white space.

    first, last: how many characters the model reads from the beginning and from the end, without white space there,
    and without invisible ones.
    """
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    unread = sum(map(text.count, UNREAD))
    joint = max(start, min(end, start + first + unread))
    tail = max(joint, end - last - unread) if last else end
    width = max(1, -(-(joint - start + end - tail) // (SPANS - (tail < end))))
    spans = [
        (i, min(i + width, stop)) for begin, stop in ((start, joint), (tail, end)) for i in range(begin, stop, width)
    ]
    return [(start, end) for start, end in spans if "".join(READ.findall(text[start:end])).strip()]


def replaced(text, start, end):
    return text[:start] + READ.sub(UNKNOWN, text[start:end]) + text[end:]


def log_odds(probabilities, label, multi_label=False):
    """The logarithm of the odds of a class, of probabilities, (C,).

    1 - p would not be precise; with several labels a text there is nothing else, and it is at least `LEAST`.
    """
    if multi_label:
        return float(np.log(max(probabilities[label], LEAST)) - np.log(max(1 - probabilities[label], LEAST)))
    if len(probabilities) == 1:
        return 0.0
    others = probabilities[:label].sum() + probabilities[label + 1 :].sum()
    return float(np.log(max(probabilities[label], TINY)) - np.log(max(others, TINY)))


def decisive_spans(weights):
    """The spans of neighbouring characters whose weights are at least `DECISIVE` of the largest one."""
    decisive = weights >= max(DECISIVE * weights.max(initial=0), TINY)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], decisive, [0]))))
    return [(int(i), int(j), round(float(weights[i:j].max()), 4)) for i, j in edges.reshape(-1, 2)]


def runs_of(weights):
    """The spans of neighbouring characters with the same level of colour, as (start, end, level).

    A level is from -4 to 4, which is the largest weight's.
    """
    levels = np.rint(len(FOR) * weights / max(np.abs(weights).max(initial=0), TINY)).astype(int)
    edges = [0, *np.flatnonzero(np.diff(levels)) + 1, len(levels)]
    return [(start, end, int(levels[start])) for start, end in itertools.pairwise(edges) if start < end]


def terminal_colour(text, level):
    return f"\033[30;48;5;{(FOR if level > 0 else AGAINST)[abs(level) - 1]}m{text}\033[0m"


def html_colour(text, level):
    colour = "255,140,0" if level > 0 else "60,130,255"
    return f'<span style="background: rgba({colour},{abs(level) / len(FOR)})">{text}</span>'
