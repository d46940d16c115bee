import numpy as np
import pytest
import torch
from test_counts import PAD, by_hand, parts_of, random_rows, random_sets, split_of
from torch import nn

from engine import counting
from engine.batches import infer
from engine.counting import add_evidence, calibrate, count, regress
from models import model_module
from models.evidence import Evidence
from models.tables import keys_of


class Zero(nn.Module):
    """A model without an opinion."""

    classifier = nn.Linear(1, 1)

    def forward(self, batch):
        return torch.zeros(len(batch.tokens), 3)


def evidence_of(batches, longest=2, smoothing=0.5, classes=3):
    config = model_module("TextCNN").Config(evidence=longest, word_n_grams=0, smoothing=smoothing)
    return Evidence(Zero(), config, count(batches, classes, longest))


def ratios_by_hand(found, rows_of_class, smoothing):
    total = found.sum()
    prior = np.log((rows_of_class + 1) / (rows_of_class.sum() - rows_of_class + 1))
    return np.log((found + smoothing) / (total - found + smoothing)) - prior if total else np.zeros(len(found))


@pytest.mark.parametrize("training", [False, True])
@torch.no_grad()
def test_the_ratios_are_those_of_the_other_rows(training):
    rows, labels = random_rows(60)
    batches = split_of(rows, labels)
    evidence = evidence_of(batches).train(training)
    ratios, _ = evidence.ratios(evidence.count(batches.cut(np.arange(60))))
    for i, row in enumerate(rows):
        others = [j for j in range(60) if j != i or not training]
        found = by_hand([rows[j] for j in others], labels[others], 2)
        keys = keys_of(torch.tensor(row)[None], 2)[0].tolist()
        expected = [[ratios_by_hand(found[key], np.bincount(labels), 0.5) for key in token] for token in keys]
        assert ratios[i, : len(row)].numpy() == pytest.approx(np.array(expected), abs=1e-4)
        assert not ratios[i, len(row) :].any()


@torch.no_grad()
def test_the_sum_of_a_row_is_that_of_its_features():
    rows, labels = random_rows(40)
    batches = split_of(rows, labels)
    evidence = evidence_of(batches).eval()
    evidence.roots.copy_(torch.rand_like(evidence.roots))
    evidence.bias.copy_(torch.tensor([0.1, -0.2, 0.3]))
    batch = batches.cut(np.arange(40))
    features = evidence.features(evidence.count(batch), batch.lengths)
    torch.testing.assert_close(evidence(batch), features @ evidence.roots.square().flatten() + evidence.bias)


@torch.no_grad()
def test_the_logits_of_a_long_row_are_the_mean_over_its_windows():
    rows, labels = random_rows(60)
    batches, found = split_of(rows, labels, limit=4, long="windows"), torch.zeros(60, 3)
    evidence = evidence_of(batches)
    for row_ids, batch, logits in infer(evidence, batches):
        assert batch.labels.tolist() == labels[row_ids].tolist()
        found[row_ids] = logits
    for row, logits in zip(rows, found, strict=True):
        parts = parts_of(row, "windows")
        alone = split_of(parts, np.zeros(len(parts), int)).cut(np.arange(len(parts)))
        torch.testing.assert_close(logits, evidence(alone).mean(dim=0))


def test_the_evidence_of_a_tail_is_that_of_a_row():
    rows, labels = random_rows(60)
    rows = [row for row in rows if len(row) > 4]
    evidence = evidence_of(split_of(rows, labels[: len(rows)]))
    index, tails = np.arange(len(rows)), [row[-3:] for row in rows]
    found = evidence.rows_of(split_of(rows, None, limit=4, long="head_tail").cut(index))
    assert torch.equal(found[:, 1:], evidence.rows_of(split_of(tails, None).cut(index)))


@torch.no_grad()
def test_rows_without_a_label_keep_all_counts():
    rows, labels = random_rows(40)
    batch = split_of(rows, labels).cut(np.arange(3))
    evidence = evidence_of(split_of(rows, labels)).train()
    several = evidence.count(batch._replace(labels=torch.full((3,), -1)))
    assert torch.equal(several, evidence.count(batch._replace(labels=batch.labels[:0])))
    assert (several >= evidence.count(batch)).all()


@torch.no_grad()
def test_rows_that_were_not_counted_are_finite_in_training():
    rows, labels = random_rows(40)
    others = split_of(*random_rows(40, seed=9)).cut(np.arange(40))
    assert torch.isfinite(evidence_of(split_of(rows, labels)).train()(others)).all()


def test_a_regression_finds_the_weights():
    torch.manual_seed(0)
    features = torch.randn(4000, 3, 2)
    labels = (features @ torch.tensor([2.0, 0.5]) + torch.tensor([0.5, 0.0, -0.5])).softmax(2 - 1).multinomial(1)[:, 0]
    loss, roots, bias = regress(features, labels)
    assert roots.square().tolist() == pytest.approx([2, 0.5], abs=0.15)
    assert (bias - bias.mean()).tolist() == pytest.approx([0.5, 0, -0.5], abs=0.15)
    assert loss < 0.9


def labelled_by_tokens(count, seed):
    """Rows whose class is that of one of their tokens, the others say nothing."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    rows = [np.append(rng.integers(10, PAD, 8), label) for label in labels]
    return rows, labels


def test_calibrated_sums_classify():
    rows, labels = labelled_by_tokens(600, 1)
    batches = split_of(rows, labels)
    evidence = evidence_of(batches, smoothing=0.0)
    assert calibrate(evidence, batches, seed=1) == evidence.smoothing in (0.1, 0.3, 1.0)
    new_rows, new_labels = labelled_by_tokens(300, 2)
    predicted = evidence.eval()(split_of(new_rows, new_labels).cut(np.arange(300))).argmax(1).numpy()
    assert (predicted == new_labels).mean() > 0.95


def test_many_classes_are_calibrated_on_fewer_rows(monkeypatch):
    batches, shapes = split_of(*labelled_by_tokens(600, 1)), []
    monkeypatch.setattr(counting, "regress", lambda *args: shapes.append(args[0].shape) or regress(*args))
    monkeypatch.setattr(counting, "CALIBRATION_PAIRS", 1000)
    calibrate(evidence_of(batches, smoothing=0.0), batches, seed=1)
    assert [shape[:2] for shape in shapes] == [(333, 3)] * 3


def test_noise_is_not_trusted():
    """Labels that have nothing to do with the texts: counts that include the row itself would tell them."""
    rows, _ = random_rows(600)
    labels = np.random.default_rng(5).integers(0, 3, 600)
    batches = split_of(rows, labels)
    evidence = evidence_of(batches, longest=4)
    calibrate(evidence, batches, seed=1)
    with torch.no_grad():
        probabilities = evidence.train()(batches.cut(np.arange(600))).softmax(1)
    assert probabilities.max(1).values.mean().item() < 0.55


@pytest.mark.parametrize("labels", [[0] * 20, [0, 1] * 10, list(range(20)), [0] * 19 + [2]])
def test_few_rows_and_classes_without_rows(labels):
    rows, _ = random_rows(20)
    config = model_module("TextCNN").Config(evidence=3, word_n_grams=0)
    for same in (rows, [rows[0]] * 20):
        batches = split_of(same, np.array(labels))
        classes = max(labels) + 2
        model, fitted = add_evidence(Zero(), config, batches, classes, seed=1)
        with torch.no_grad():
            features = model.eval().features(model.count(batches.cut(np.arange(20))), torch.ones(20))
        assert features.shape == (20, classes, 18)
        assert torch.isfinite(model.roots).all() and torch.isfinite(features).all()
        assert fitted.smoothing > 0


def test_a_network_without_evidence_stays_as_it_is():
    model, config = nn.Identity(), model_module("TextCNN").Config(evidence=0)
    assert add_evidence(model, config, None, 3, seed=1) == (model, config)


@pytest.mark.parametrize("training", [False, True])
@torch.no_grad()
def test_the_ratios_of_rows_with_any_number_of_labels(training):
    """Rows with a label against those without it; a row without labels is left out of the latter."""
    rows, _ = random_rows(60)
    labels, indices = random_sets(60)
    batches = split_of(rows, labels)
    evidence = evidence_of(batches).train(training)
    ratios, levels = evidence.ratios(evidence.count(batches.cut(np.arange(60))))
    own = labels.sum(axis=0)
    prior = np.log((own + 1) / (60 - own + 1))
    for i, row in enumerate(rows):
        others = [j for j in range(60) if j != i or not training]
        found = by_hand([rows[j] for j in others], [indices[j] for j in others], 2, 4)
        for t, token in enumerate(keys_of(torch.tensor(row)[None], 2)[0].tolist()):
            for n, key in enumerate(token):
                k, total = found[key][:3], found[key][3]
                expected = np.log((k + 0.5) / (total - k + 0.5)) - prior if total else np.zeros(3)
                assert ratios[i, t, n].numpy() == pytest.approx(expected, abs=1e-4)
                assert levels[i, t, n] == min(int(np.log2(max(total, 1))), 5)
        assert not ratios[i, len(row) :].any()
