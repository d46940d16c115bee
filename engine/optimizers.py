"""The optimizers of a network's parameters, and the schedule of the learning rate."""

import torch

from models.tables import Bags, Table, distinct

ROW_RATE = 60  # ratio of RowAdagrad's learning rate to Adam's
PRIOR = 10  # a row's sum starts with this many typical squares; otherwise a rare row overfits its first batch


class RowAdagrad(torch.optim.Optimizer):
    """Adagrad with one sum of squares a row of a table, (N, E): rows that are not in a batch do not change.

    Sparse gradients take time proportional to their rows; dense ones have the same result. After Duchi et al. 2011,
    https://jmlr.org/papers/v12/duchi11a.html; one sum a row, of the mean square, is usual for such tables.
    """

    def __init__(self, params, lr, eps=1e-8):
        super().__init__(params, {"lr": lr, "eps": eps})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for table in (p for p in group["params"] if p.grad is not None):
                rows, grad = slice(None), table.grad
                if grad.is_sparse:
                    rows, grad = add_up(grad._indices()[0], grad._values(), len(table))
                squares = grad.square().mean(dim=1)
                if not self.state[table]:
                    typical = squares.sum() / squares.count_nonzero().clamp(min=1)
                    self.state[table]["sums"] = (PRIOR * typical).repeat(len(table))
                sums = self.state[table]["sums"]
                sums[rows] = now = sums[rows] + squares
                change = grad.mul_((-group["lr"] / (now.sqrt() + group["eps"]))[:, None])
                if table.grad.is_sparse:
                    table.index_add_(0, rows, change)
                else:
                    table += change


class LazyAdam(torch.optim.Optimizer):
    """Adam that does not change rows of a table, (N, E), and their moments, if they are not in a batch.

    torch's SparseAdam computes the same for sparse gradients, in five times the time.
    """

    def __init__(self, params, lr, betas=(0.9, 0.999), eps=1e-8):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for table in (p for p in group["params"] if p.grad is not None):
                state = self.state[table]
                if not state:
                    state |= {"step": 0, "mean": torch.zeros_like(table), "square": torch.zeros_like(table)}
                state["step"] += 1
                old, older = (1 - beta ** state["step"] for beta in group["betas"])
                shares = [1 - beta for beta in group["betas"]]
                rate = -group["lr"] * older**0.5 / old
                if table.grad.is_sparse:
                    rows, grad = add_up(table.grad._indices()[0], table.grad._values(), len(table))
                    mean = state["mean"].index_select(0, rows).lerp_(grad, shares[0])
                    square = state["square"].index_select(0, rows).lerp_(grad.square(), shares[1])
                    state["mean"][rows], state["square"][rows] = mean, square
                    table.index_add_(0, rows, mean.mul_(rate).div_(square.sqrt_().add_(group["eps"])))
                else:
                    touched = table.grad.any(dim=1, keepdim=True).float()
                    mean = state["mean"].lerp_(table.grad, touched * shares[0])
                    square = state["square"].lerp_(table.grad.square(), touched * shares[1])
                    table.addcmul_(mean / square.sqrt().add_(group["eps"]), touched, value=rate)


def add_up(rows, values, size):
    """The distinct ones among row ids below `size`, (U,), and the sums of their values, (n, E) -> (U, E)."""
    touched, index = distinct(rows.numpy(), size)
    if len(touched) == len(rows):
        return rows, values
    sums = values.new_zeros(len(touched), values.shape[1])
    return torch.from_numpy(touched), sums.index_add_(0, torch.from_numpy(index), values)


def make_optimizers(model, learning_rate):
    """LazyAdam for tables of n-grams, RowAdagrad for those that are summed, and Adam for all other parameters."""
    tables = [module for module in model.modules() if isinstance(module, Table)]
    bags = [table.weight for table in tables if isinstance(table, Bags)]
    lazy = [table.weight for table in tables if not isinstance(table, Bags)]
    dense = [parameter for parameter in model.parameters() if not any(parameter is t.weight for t in tables)]
    optimizers = [torch.optim.Adam(dense, lr=learning_rate, fused=True)]
    optimizers += [LazyAdam(lazy, lr=learning_rate)] if lazy else []
    optimizers += [RowAdagrad(bags, lr=ROW_RATE * learning_rate)] if bags else []
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["initial_lr"] = group["lr"]  # for the schedule
    return optimizers


def warmup_and_decay(warmup):
    """The schedule that rises for this share of the steps and then falls to zero, both linearly."""

    def factor(step, steps):
        rising = warmup * steps
        if step + 1 <= rising:
            return (step + 1) / rising
        return min(1.0, (steps - step) / (steps - rising))

    return factor
