import pytest
import torch

from engine.optimizers import PRIOR, LazyAdam, RowAdagrad, add_up, warmup_and_decay


def steps(kind, sparse, turns=3, passes=1):
    """A small table after some steps on rows that repeat."""
    table = torch.nn.Parameter(torch.ones(9, 4))
    optimizer = kind([table], lr=0.1)
    targets = torch.arange(24.0).view(6, 4)
    for turn in range(turns):
        optimizer.zero_grad()
        rows = torch.tensor([3, 1, 3, 3, 8, 1]) - turn % 2
        for some, target in zip(rows.chunk(passes), targets.chunk(passes), strict=True):
            found = torch.nn.functional.embedding(some, table, sparse=sparse)
            (found - target).square().sum().backward()
        optimizer.step()
    return table.detach()


@pytest.mark.parametrize("kind", [LazyAdam, RowAdagrad])
def test_sparse_gradients_and_dense_ones_do_the_same(kind):
    torch.testing.assert_close(steps(kind, sparse=True), steps(kind, sparse=False))
    assert (steps(kind, sparse=True)[5] == 1).all()  # a row that no batch has
    assert (steps(kind, sparse=True)[3] != 1).all()


@pytest.mark.parametrize("kind", [LazyAdam, RowAdagrad])
def test_a_batch_in_several_passes_is_a_batch(kind):
    torch.testing.assert_close(steps(kind, sparse=True, passes=3), steps(kind, sparse=True))


def test_lazy_adam_is_torchs():
    torch.testing.assert_close(steps(LazyAdam, sparse=True), steps(torch.optim.SparseAdam, sparse=True))


def test_steps_grow_shorter_as_squares_add_up():
    table = torch.nn.Parameter(torch.zeros(1, 2))
    optimizer = RowAdagrad([table], lr=1.0)
    lengths = []
    for _ in range(3):
        before = table.detach().clone()
        table.grad = torch.ones(1, 2)
        optimizer.step()
        lengths.append((before - table.detach())[0, 0].item())
    assert lengths == pytest.approx([(PRIOR + turn) ** -0.5 for turn in (1, 2, 3)])


def test_rows_are_added_up():
    rows, sums = add_up(torch.tensor([4, 0, 4, 4]), torch.tensor([[1.0], [2.0], [3.0], [5.0]]), 6)
    assert dict(zip(rows.tolist(), sums.flatten().tolist(), strict=True)) == {0: 2.0, 4: 9.0}


def test_the_rate_rises_and_falls():
    factor = warmup_and_decay(0.1)
    assert [factor(step, 100) for step in (0, 4, 9, 10, 55, 99)] == pytest.approx([0.1, 0.5, 1.0, 1.0, 0.5, 1 / 90])
    assert max(factor(step, 100) for step in range(100)) == 1.0
    assert [warmup_and_decay(0.0)(step, 4) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]
    assert [warmup_and_decay(1.0)(step, 4) for step in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert warmup_and_decay(0.05)(0, 1) == 1.0
