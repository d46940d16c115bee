import numpy as np
import pytest
import torch

from cli.console import duration
from conftest import batches_of, inside, write_dataset
from engine.losses import Loss
from engine.predictor import Predict
from train_eval import PATIENCE, default_eval_every, evaluate


@pytest.mark.parametrize(
    ("train_rows", "dev_rows", "batch_size", "steps"),
    [
        (45000, 10000, 128, 261),  # 33,333 rows of training cost ten times what validating 10,000 does
        (10_000_000, 10_000, 128, 261),
        (1500, 250, 128, 100),  # never more often than each 100 steps
        (10, 3, 128, 100),
        (10_000_000, 1_000_000, 1024, 3256),
    ],
)
def test_validation_costs_a_tenth_by_row_counts(train_rows, dev_rows, batch_size, steps):
    assert default_eval_every(train_rows, dev_rows, batch_size) == steps


class Lookup(torch.nn.Module):
    def forward(self, batch):
        return torch.nn.functional.one_hot(batch.tokens[:, 0], 3).float() * 2


def test_evaluation_names_the_rows_and_means_over_them():
    lengths = np.array([1, 5, 2, 3000, 7000])
    ids = np.zeros(lengths.sum(), np.int32)
    ids[lengths.cumsum() - lengths] = [2, 0, 1, 1, 0]
    batches = batches_of(ids, lengths, np.array([2, 0, 1, 1, 1]))
    predicted = np.zeros(5, int)

    def keep(row_ids, logits):
        predicted[row_ids] = logits.argmax(dim=1)

    loss, accuracy = evaluate(Lookup(), batches, Loss(), keep)
    assert predicted.tolist() == [2, 0, 1, 1, 0]
    right, wrong = -np.log(np.exp(2) / (np.exp(2) + 2)), -np.log(1 / (np.exp(2) + 2))
    assert loss == pytest.approx((4 * right + wrong) / 5)
    assert accuracy == 0.8
    weights = torch.tensor([0.0, 2.0, 1.0])
    assert evaluate(Lookup(), batches, Loss(weights))[0] == pytest.approx(
        (right + 2 * (right * 2 + wrong)) / 7, rel=1e-6
    )


def test_durations():
    assert duration(59.6) == "0:01:00"


def test_training_stops_early(tmp_path):
    rows = [("好天气", 0), ("坏天气", 1)]
    dataset = write_dataset(tmp_path / "d", ["好", "坏"], rows * 4, dev=[("好天气", 1), ("坏天气", 0)])
    settings = ("--num_epochs", 50, "--require_improvement", 2, "--learning_rate", 0.05, "--device", "cpu")
    done = inside("run.py", "--model", "TextCNN", "--dataset", dataset, *settings)
    assert "No optimization for a long time, auto-stopping..." in done.stdout
    assert 1 + PATIENCE <= done.stdout.count("Iter:") < 20


def test_a_loss_that_is_not_finite_is_told(tmp_path):
    dataset = write_dataset(tmp_path / "d", ["好", "坏"], [("好天气", 0), ("坏天气", 1)] * 4)
    settings = ("--num_epochs", 5, "--batch_size", 1, "--learning_rate", 1e30, "--device", "cpu")
    done = inside("run.py", "--model", "DPCNN", "--dataset", dataset, *settings, check=False)
    assert done.returncode == 2
    assert "the loss is not a finite number at step" in done.stderr
    assert "lower --learning_rate" in done.stderr


def test_balanced_classes_reach_a_linear_model(tmp_path):
    rows = [("好天气", 0)] * 18 + [("坏天气", 1)] * 2 + [("天气", 0)] * 9 + [("天气", 1)] * 3
    dataset = write_dataset(tmp_path / "d", ["好", "坏"], rows)
    predicted = []
    for flags in ((), ("--class_weight", "balanced")):
        inside("run.py", "--model", "SVM", "--dataset", dataset, *flags, "--device", "cpu")
        predicted.append(Predict("SVM", dataset=dataset, device="cpu").predict("天气"))
    assert predicted == ["好", "坏"]
