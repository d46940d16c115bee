"""Weights and counts for other classes and more tokens."""

import numpy as np
import pytest
import torch

from conftest import batches_of
from engine.counting import count
from engine.transfer import TOKENS, copy_weights, counted
from models import NETWORKS, model_module
from models.base import DataSpec
from models.counts import Counter
from models.evidence import Evidence

INDEX = np.array([2, 3, 1])  # the later index of each of three classes


@pytest.mark.parametrize("evidence", [0, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_logits_of_old_classes_stay(name, evidence):
    """Those of texts of old tokens, for a model with one more class and five more tokens."""
    module = model_module(name)
    sizes = {"embed": 20, "evidence": evidence, "smoothing": 0.3, "pad_size": 12}
    sizes |= {"n_gram_vocab": 99} if name == "FastText" else {"bigram_vocab": 99}
    config = module.Config(**sizes | ({"dim_model": 20} if name == "Transformer" else {}))
    rng = np.random.default_rng(2)
    lengths = rng.integers(1, 12, 40)
    ids = rng.integers(0, 18, lengths.sum()).astype(np.int32)
    old = module.Model(config, DataSpec(3, 20))
    new = module.Model(config, DataSpec(4, 25))
    for key, parameter in old.named_parameters():
        if key not in TOKENS:  # some start at zero, which would hide that they are not copied
            parameter.data += 0.1 * torch.rand_like(parameter)
    copy_weights(new, old, INDEX)
    ends = rng.integers(0, 2, len(ids))
    before, after = (batches_of(ids, lengths, np.arange(40) % 3, pad=pad, ends=ends) for pad in (19, 24))
    if evidence:
        counts, counter = count(before, 3, evidence, words=2), Counter(4)
        counter.add_counts(counts, INDEX)
        old, new = Evidence(old, config, counts), Evidence(new, config, counter.finish())
    logits = [model.eval()(batches.cut(np.arange(40))) for model, batches in ((old, before), (new, after))]
    torch.testing.assert_close(logits[1][:, INDEX], logits[0], atol=1e-4, rtol=1e-4)


def flat(rows):
    return [token for row in rows for token in row]


@pytest.mark.parametrize("words", [0, 2])
@pytest.mark.parametrize(("limit", "long"), [(3, "head"), (2, "windows")])
def test_a_row_is_counted_if_its_class_has_each_of_its_n_grams(limit, long, words):
    config = model_module("TextCNN").Config(evidence=2, word_n_grams=words, smoothing=0.3)
    rows, ends = [[1, 2, 3], [1, 2], [4], [2, 3]], np.ones(14, int)
    cut = {"limit": limit, "long": long}
    before = batches_of(
        np.array(flat(rows), np.int32), [3, 2, 1, 2], np.array([0, 0, 1, 1]), pad=30, ends=ends[:8], **cut
    )
    evidence = Evidence(torch.nn.Identity(), config, count(before, 2, 2, words=words))
    rows += [[2, 1], [1, 2, 3], [9]]
    labels = np.array([2, 2, 0, 0, 2, 0, 1])
    batches = batches_of(np.array(flat(rows), np.int32), [3, 2, 1, 2, 2, 3, 1], labels, pad=40, ends=ends, **cut)
    found = counted(evidence, batches, np.array([2, 0]), 3)
    assert found.tolist() == [True, True, True, True, False, False, False]
    assert counted(evidence, batches, np.array([-1, 0]), 3).tolist() == [False, False, True, True, False, False, False]


def test_a_row_of_any_number_of_labels_is_counted_if_each_of_its_classes_has_its_n_grams():
    config = model_module("TextCNN").Config(evidence=2, smoothing=0.3)
    rows, sets = [[1, 2], [3], [4, 1]], np.array([[1, 0], [1, 1], [0, 0]], np.uint8)
    before = batches_of(np.array(flat(rows), np.int32), [2, 1, 2], sets, pad=30)
    evidence = Evidence(torch.nn.Identity(), config, count(before, 2, 2))
    rows += [[1, 2], [3], [4, 1], [5]]
    sets = np.array([[0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]], np.uint8)
    batches = batches_of(np.array(flat(rows), np.int32), [2, 1, 2, 2, 1, 2, 1], sets, pad=40)
    found = counted(evidence, batches, np.array([1, 0]), 3)  # the last class is new
    assert found.tolist() == [True, True, True, False, True, False, False]
