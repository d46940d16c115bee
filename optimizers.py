"""Optimizers: what each parameter of a model is trained by."""

import torch

from models.tables import Table, distinct

ROW_RATE = 60  # of RowAdagrad's learning rate to Adam's
PRIOR = 30  # typical gradients that a row's sum begins with: else one step would teach a rare row a batch by heart


class RowAdagrad(torch.optim.Optimizer):
    """Adagrad with one sum of squares a row of a table, (N, E): rows that a batch does not touch stay as they are.

    It takes sparse gradients, in time of the rows that they have, and dense ones with the same result. From Duchi et
    al. 2011, https://jmlr.org/papers/v12/duchi11a.html; one sum a row, of the mean square, is usual for such tables.
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


def add_up(rows, values, size):
    """The distinct ones among row numbers below `size`, (U,), and the sums of their values, (n, E) -> (U, E)."""
    touched, places = distinct(rows.numpy(), size)
    if len(touched) == len(rows):
        return rows, values
    sums = values.new_zeros(len(touched), values.shape[1])
    return torch.from_numpy(touched), sums.index_add_(0, torch.from_numpy(places), values)


def make_optimizers(model, learning_rate):
    """Adam, and for the tables of n-grams RowAdagrad."""
    tables = [module.weight for module in model.modules() if isinstance(module, Table)]
    dense = [parameter for parameter in model.parameters() if not any(parameter is table for table in tables)]
    optimizers = [torch.optim.Adam(dense, lr=learning_rate, fused=True)]
    return [*optimizers, RowAdagrad(tables, lr=ROW_RATE * learning_rate)] if tables else optimizers
