"""Compares an exported directory with the checkpoint that it was made of: probabilities, accuracy, size, and speed."""

import itertools
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cli.console import UserError, reason
from cli.files import ROOT
from engine.scores import measure_of, predictions_of, score_of
from evaluation.timing import measure

EXACT = 1e-4  # largest difference of probabilities in float32
ALLOWED = 0.005  # accuracy that int8 may lose
STARTS = 3  # fresh processes, whose median counts
GENERATED, LONGEST = 500, 64  # texts that take the place of a missing dev split, and their characters at most


class Comparison(NamedTuple):
    """What both predict of the same N texts, and how fast. Pairs are of the checkpoint and of the export."""

    difference: float  # the largest one of two probabilities
    text: str  # that has it
    changed: float  # share of the texts with another class, or with other labels
    measure: str  # of the scores
    scores: tuple | None  # None without labels
    sizes: tuple  # bytes
    starts: tuple  # seconds of a process that predicts one text
    speeds: tuple  # of `evaluation.timing.measure`

    def check(self, quantize, force):
        """Raises UserError if the export differs more than it may: `EXACT`, or `ALLOWED` with int8 without `force`."""
        if not quantize and not self.difference <= EXACT:
            raise UserError(
                f"the export differs from the checkpoint by {self.difference:.1e} in a probability of "
                f"{self.text[:40]!r}, expected at most {EXACT:g}; nothing is written"
            )
        if quantize and self.scores and self.scores[0] - self.scores[1] > ALLOWED and not force:
            raise UserError(
                f"--quantize {quantize} lowers the {self.measure} from {self.scores[0]:.2%} to {self.scores[1]:.2%}, "
                f"expected at most {ALLOWED:.1%} less; --force writes it nevertheless"
            )

    @property
    def table(self):
        """The comparison as aligned lines."""
        rows = [("", "torch", "export")]
        if self.scores:
            rows.append((f"{self.measure} on dev", *(f"{score:.2%}" for score in self.scores)))
        rows.append(("largest difference of probabilities", "", f"{self.difference:.1e}"))
        rows.append(("texts with another prediction", "", f"{self.changed:.2%}"))
        rows.append(("size", *(f"{size / 1e6:.1f} MB" for size in self.sizes)))
        rows.append(("one text in a fresh process", *(f"{seconds:.2f} s" for seconds in self.starts)))
        rows.append(("texts a second", *(f"{speed['rows_per_second']:,.0f}" for speed in self.speeds)))
        rows.append(("one text, p50", *(f"{speed['p50_ms']:.2f} ms" for speed in self.speeds)))
        rows.append(("one text, p99", *(f"{speed['p99_ms']:.2f} ms" for speed in self.speeds)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return [f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}" for row in rows]


def compare(predictor, exported, texts, labels=None):
    """The Comparison of an `engine.predictor.Predict` and a `predict_onnx.Predict`.

    labels: of the texts, (N,), or (N, C) of 0 and 1; None if they are not known.
    """
    pair = predictor, exported
    found = [own.predict_proba(texts) for own in pair]
    differences = np.abs(found[0] - found[1]).max(axis=1)
    predicted = [predictions_of(predictor.saved, probabilities) for probabilities in found]
    changed = predicted[0] != predicted[1]
    worst = int(differences.argmax())
    files = [path for path in exported.path.iterdir() if path.is_file()]
    return Comparison(
        difference=float(differences[worst]),
        text=texts[worst],
        changed=float((changed.any(axis=1) if changed.ndim == 2 else changed).mean()),
        measure=measure_of(predictor.saved),
        scores=None if labels is None else tuple(score_of(own, labels) for own in predicted),
        sizes=(predictor.path.stat().st_size, sum(path.stat().st_size for path in files)),
        starts=tuple(map(start_up, commands_of(predictor, exported, next(filter(str.strip, texts))))),
        speeds=tuple(measure(own.predict_proba, own.predict, texts) for own in pair),
    )


def commands_of(predictor, exported, text):
    """The commands that predict a text with the checkpoint and with the export. They write no byte code beside it."""
    torch = [ROOT / "predict.py", "--checkpoint", predictor.path, "--device", "cpu"]
    return [[sys.executable, "-B", *map(str, own), "--", text] for own in (torch, [exported.path / "predict_onnx.py"])]


def start_up(command):
    """The seconds that a process takes, the median of several."""
    seconds = []
    for _ in range(STARTS):
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
        if done.returncode:
            message = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise UserError(f"{Path(command[2]).name} does not run: {reason(ValueError(*message))}")
    return float(np.median(seconds))


def generated_texts(saved):
    """Random texts of the characters that the vocabularies of a Classifier or an Ensemble have, or aliases for."""
    tokens = itertools.chain.from_iterable(tokens_of(member.vocabulary) for member in saved.members)
    characters = sorted({character for token in tokens for character in token if character.isprintable()})
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(characters, length)) for length in rng.integers(1, LONGEST, GENERATED)]


def tokens_of(vocabulary):
    """The tokens of a vocabulary, and its aliases."""
    tokens = vocabulary.pieces() if hasattr(vocabulary, "pieces") else vocabulary.ids
    return [*tokens, vocabulary.aliases.pairs if vocabulary.aliases else ""]
