"""Served models, and the cores that they compute on."""

from types import SimpleNamespace

import pytest
import torch

from serving.exported import Exported
from serving.loading import share_cores


@pytest.mark.parametrize(
    "workers, threads, cores",
    [([(2, 1)], 2, 1), ([(16, 1)], 4, 4), ([(3, 1), (1, 3)], 1, 3), ([(2, 8)], 2, 8)],
)
def test_threads_share_the_cores(workers, threads, cores):
    before = torch.get_num_threads()
    try:
        models = [SimpleNamespace(predictor=SimpleNamespace(workers=own)) for own in workers]
        assert share_cores(models) == threads
        assert torch.get_num_threads() == cores
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("cores, workers", [(1, (1, 1)), (2, (2, 1)), (16, (4, 4))])
def test_an_exported_network_is_computed_by_several_threads(exported_svm, cores, workers):
    assert Exported(exported_svm, cores).workers == workers
