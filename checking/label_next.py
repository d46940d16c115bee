"""Picks the rows of an unlabelled file that are worth labelling first: uncertain, and unlike each other.

The texts are clustered by their characters and bigrams, as many clusters as rows are picked, and one text of each is
picked. Without a model that is the most typical one, those of large clusters first (Hacohen et al. 2022,
https://arxiv.org/abs/2202.02794). With a model the texts are those of which it is the least certain, ten times as many
as are picked, and the least certain one of each cluster is picked. A model of one label a text is uncertain if the
margin between the two most probable classes is small; one of any number if the mean entropy of its decisions about the
labels is large (Settles 2009, https://minds.wisconsin.edu/handle/1793/60660).
"""

import itertools
import sys
import warnings

import numpy as np
from scipy.special import entr
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import normalize

from checking.suspects import features
from cli.console import UserError, echo, one_line, say
from cli.files import replacing
from text.duplicates import exact_groups
from text.grams import fold, take
from text.inputs import read_texts
from text.rows import spans_of, texts_of

MOST = 200_000  # texts among which is picked; of more, a sample is drawn
CLUSTERED = 20_000  # that are clustered without a model; of more, a sample is drawn
PER_PICK = 10  # uncertain texts that are clustered for each that is picked
DIMENSIONS = 100  # of a text's vector


def label_next(source, column, count, checkpoint=None, output=None):
    """Writes `count` texts of a file that are worth labelling first to a file, or to standard output.

    column: as `--text` of predict.py; checkpoint: of a model, to pick what it is uncertain of. Raises UserError if the
    file has no texts.
    """
    texts, lines = read_pool(source, column)
    model = predicted(checkpoint, texts) if checkpoint else None
    picked = pick(texts, count, model[2] if model else None)
    if len(picked) < count:
        say(f"{source} has {len(picked)} different texts: all are written")
    if output:
        with replacing(output, "w", encoding="utf-8", newline="", errors="backslashreplace") as file:
            write(file, texts, lines, picked, model)
        echo(f"{output}: {len(picked)} of {len(lines):,} different texts")
    else:
        write(sys.stdout, texts, lines, picked, model)


def pick(texts, count, margins=None, seed=1):
    """The texts worth labelling first, indices in that order.

    texts: a `Rows` of code points; margins: of each, how certain a model is, (N,), or None.
    """
    if margins is None:
        pool = np.random.default_rng(seed).permutation(len(texts.offsets) - 1)[:CLUSTERED]
    else:
        pool = np.argsort(margins, kind="stable")[: PER_PICK * count]
    if count >= len(pool):
        return pool
    matrix = features(take(texts, pool), 1)
    vectors = normalize(TruncatedSVD(min(DIMENSIONS, *matrix.shape), random_state=seed).fit_transform(matrix))
    model = KMeans(count, n_init=1, max_iter=30, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer different vectors than clusters
        distances = model.fit_transform(vectors)
    cluster, own = distances.argmin(axis=1), distances.min(axis=1)
    score = own if margins is None else margins[pool]
    size = np.bincount(cluster, minlength=count)
    order = np.lexsort((score, -size[cluster]) if margins is None else (score,))
    _, firsts = np.unique(cluster[order], return_index=True)
    rest = np.setdiff1d(np.arange(len(order)), firsts)  # for clusters that have become empty
    return pool[order[np.concatenate((np.sort(firsts), rest))[:count]]]


def read_pool(source, column, seed=1):
    """The different texts of a file, sampled if they are many, and their lines: a `Rows`, and an array.

    Raises UserError if it has none.
    """
    texts = [text.strip() for text in itertools.chain.from_iterable(read_texts(source, column, show=True))]
    lines = np.flatnonzero([bool(text) for text in texts])
    if not len(lines):
        raise UserError(f"{source} has no texts; expected one a line, or a table with a column of texts (--text)")
    if blank := len(texts) - len(lines):
        say(f"{source}: {blank} blank texts skipped")
    rows = spans_of([texts[line] for line in lines])
    different = np.unique(exact_groups(fold(rows)), return_index=True)[1]
    if len(different) > MOST:
        say(f"{source}: {MOST:,} of {len(different):,} different texts are considered, drawn at random")
        different = np.random.default_rng(seed).permutation(different)[:MOST]
    different.sort()
    return take(rows, different), lines[different] + 1


def predicted(checkpoint, texts):
    """What a model predicts for each text, the probability of this, and how certain it is: two lists, and (N,).

    The probabilities are text: the one of a class, or those of the predicted labels.
    """
    from engine.predictions import label_ids
    from engine.predictor import Predict  # torch takes seconds to load, and is not needed without a model

    predictor = Predict(checkpoint=checkpoint)
    if len(predictor.classes) < 2:
        raise UserError(
            f"--checkpoint {checkpoint}: its model knows one class and is always certain; leave --checkpoint out"
        )
    probabilities = predictor.predict_proba(texts_of(texts))
    if predictor.saved.multi_label:
        ids = label_ids(probabilities, predictor.saved.calibration.predicted(probabilities))
        certainty = -(entr(probabilities) + entr(1 - probabilities)).mean(axis=1)
    else:
        ids, top = probabilities.argmax(axis=1)[:, None], np.sort(probabilities, axis=1)[:, -2:]
        certainty = top[:, 1] - top[:, 0]
    names = [",".join(predictor.classes[c] for c in row) for row in ids]
    values = [",".join(f"{probabilities[i, c]:.4f}" for c in row) for i, row in enumerate(ids)]
    return names, values, certainty


def write(file, texts, lines, picked, model):
    """Writes the picked texts with their lines, and with what `predicted` returned for them if that is not None."""
    file.write("line\ttext" + ("\tpredicted\tprobability" if model else "") + "\n")
    strings = texts_of(take(texts, picked))
    for i, text in zip(picked, strings, strict=True):
        fields = [str(lines[i]), one_line(text)] + ([model[0][i], model[1][i]] if model else [])
        file.write("\t".join(fields) + "\n")
