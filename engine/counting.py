"""Counts the n-grams of a training split, and calibrates the evidence that they give."""

import dataclasses

import numpy as np
import torch

from cli.console import say
from engine.losses import Loss
from models.counts import BLOCK, MOST_ROWS, Counter
from models.evidence import Evidence
from models.tables import keys_of
from text.rows import drawn

CALIBRATION_ROWS = 5_000  # training rows that the evidence is calibrated on, at most,
CALIBRATION_PAIRS = 2_000_000  # and pairs of a row and a class
MOST_CLASSES = 1000  # with evidence: each token of a batch has a number for each class and length of n-gram
SMOOTHINGS = (0.1, 0.3, 1.0)  # among which the best one is chosen
PENALTY = 1e-4  # on the squares of the weights, so that those of rare features stay small


def add_evidence(model, config, batches, num_classes, seed):
    """The model with the n-gram evidence of the training split's Batches, and its Config, or both as they are.

    The Config gets the smoothing that was chosen if its own is 0.
    """
    if not config.n_grams_per_token:
        return model, config
    with torch.no_grad():
        model.classifier.weight.mul_(config.start)
    counts = count(batches, num_classes, config.evidence, config.min_rows, config.words)
    model = Evidence(model, config, counts).to(batches.device)
    return model, dataclasses.replace(config, smoothing=calibrate(model, batches, seed))


def limit_evidence(config, num_classes):
    """The Config without n-gram evidence if there are too many classes for it, which is reported."""
    if not config.n_grams_per_token or num_classes <= MOST_CLASSES:
        return config
    say(f"{num_classes:,} classes are more than the {MOST_CLASSES:,} for which n-grams are counted: --evidence 0")
    return dataclasses.replace(config, evidence=0)


def count(batches, num_classes, longest, min_rows=1, words=0):
    """The `models.counts.Counts` of the n-grams of up to `longest` tokens, and of `words` words, in a split's Batches.

    min_rows: the rows that an n-gram must be in.
    """
    counter = Counter(num_classes, has_total=batches.labels.dim() == 2)
    add_rows(counter, batches, np.arange(len(batches.lengths)), longest, words)
    return counter.finish(min_rows)


def add_rows(counter, batches, row_ids, longest, words=0):
    """Adds the n-grams and words, as in `count`, in these rows, ids in order, of a split's Batches to a Counter."""
    start = 0
    while start < len(row_ids):
        tokens = np.cumsum(batches.costs[row_ids[start : start + MOST_ROWS]], dtype=np.int64)
        block = row_ids[start : start + max(1, int(np.searchsorted(tokens, BLOCK // (longest + words))))]
        keys, rows = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for batch_ids in batches.by_length(block):
            batch = batches.whole(batch_ids)
            found = keys_of(batch.tokens, longest, batch.joints, batch.word_ends, words)[batch.mask].cpu().numpy()
            index = np.searchsorted(block, batch_ids).repeat(batches.costs[batch_ids])
            if words:
                known = found >= 0
                keys.append(found[known])
                rows.append(index.repeat(known.sum(axis=1)))
            else:
                keys.append(found.ravel())
                rows.append(index.repeat(longest))
        counter.add(np.concatenate(keys), np.concatenate(rows), batches.labels[block].cpu().numpy())
        start += len(block)


@torch.no_grad()
def calibrate(evidence, batches, seed):
    """Sets the factors of an `Evidence` so that the rows' sums alone classify best; returns its smoothing.

    The rows are those of the training split, each left out of the counts. A smoothing of 0 is chosen here.
    """
    most = min(CALIBRATION_ROWS, CALIBRATION_PAIRS // len(evidence.bias))
    rows = drawn(len(batches.lengths), most, seed)
    smoothings, found = [evidence.smoothing] if evidence.smoothing else SMOOTHINGS, []
    evidence.train()
    for evidence.smoothing in smoothings:  # the features of one at a time: with many classes they take gigabytes
        features, labels = [], []
        for row_ids in batches.by_length(rows):
            batch = batches.cut(row_ids)
            features.append(evidence.features(evidence.count(batch), batch.lengths))
            labels.append(batch.labels)
        found.append((*regress(torch.cat(features), torch.cat(labels)), evidence.smoothing))
    _, roots, bias, evidence.smoothing = min(found, key=lambda each: each[0])
    evidence.roots.copy_(roots.view_as(evidence.roots))
    evidence.bias.copy_(bias)
    return evidence.smoothing


@torch.enable_grad()
def regress(features, labels):
    """The loss of a logistic regression, the roots of its weights, (K,), which all classes share, and its bias, (C,).

    features: (R, C, K); labels: (R,) or (R, C).
    """
    roots = features.new_full((features.shape[2],), 0.3).requires_grad_()
    bias = features.new_zeros(features.shape[1]).requires_grad_()
    optimizer = torch.optim.LBFGS([roots, bias], max_iter=50, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        weights = roots.square()
        loss = Loss()(features @ weights + bias, labels) / len(labels)
        loss = loss + PENALTY * (weights.square().sum() + bias.square().sum())
        loss.backward()
        return loss

    optimizer.step(closure)
    return closure().item(), roots.detach(), bias.detach()
