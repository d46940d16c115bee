"""The state of a training in a file, from which `--resume` continues."""

import time
from pathlib import Path

import torch

from cli.console import RANK, UserError, excerpt, say
from engine.checkpoint import FORMAT, is_of_format, read, write
from engine.ranks import broadcast_object

FIELDS = {"fingerprint": dict, "progress": dict}
STATES = [{"step", "exp_avg", "exp_avg_sq"}, {"step", "mean", "square"}, {"sums"}]  # of Adam, LazyAdam, RowAdagrad
TRAINING = {"weights": dict, "optimizers": list, "random": torch.Tensor}  # absent if the run is over


class State:
    """Progress, weights, optimizers and random numbers of a run, in a file that the first of several ranks writes.

    fingerprint: all that decides the weights; a file with another one is refused. model: None for a run that is over.
    optimizers: objects with a `state_dict`.
    """

    def __init__(self, path, fingerprint, device, model=None, optimizers=()):
        self.path, self.fingerprint, self.device = Path(path), fingerprint, device
        self.model, self.optimizers = model, optimizers
        self.saved_at = self.cost = 0.0

    def clear(self):
        if RANK == 0:
            self.path.unlink(missing_ok=True)

    def save(self, progress, now=True):
        """Writes the file. Unless `now`, it is skipped if writing would take more than a tenth of the time."""
        start = time.monotonic()
        if RANK or (not now and start - self.saved_at < 10 * self.cost):
            return
        content = {"format": FORMAT, "fingerprint": self.fingerprint, "progress": progress}
        if self.model:
            content["weights"] = self.model.state_dict()
            content["optimizers"] = [optimizer.state_dict() for optimizer in self.optimizers]
            content["random"] = torch.get_rng_state()
            if self.device.type == "cuda":
                content["cuda_random"] = torch.cuda.get_rng_state(self.device)
        write(self.path, content)
        self.saved_at = time.monotonic()
        self.cost = self.saved_at - start

    def restore(self, progress_class):
        """Sets model, optimizers and random numbers to the saved ones; returns the progress, or None without a file.

        progress_class: makes the progress of its saved fields. Raises UserError if the file has another fingerprint,
        naming what differs, or is no state of this toolkit.
        """
        content = broadcast_object(self._read() if RANK == 0 else None)
        if content is None:
            return None
        saved, own = (  # as text, which can be compared whatever a damaged file holds
            {name: repr(value) for name, value in f.items()} for f in (content["fingerprint"], self.fingerprint)
        )
        differences = [
            f"{name} is {excerpt(saved.get(name, 'absent'), 100)} there, {excerpt(own.get(name, 'absent'), 100)} here"
            for name in saved | own
            if saved.get(name) != own.get(name)
        ]
        if differences:
            raise UserError(
                f"{self.path} is of a run with other flags or data: {'; '.join(differences)}. "
                "Use those, or start again without --resume or without that file"
            )
        try:
            if "weights" in content:
                self._set(content)
            return progress_class(**content["progress"])
        except Exception as error:  # torch raises exceptions of all types for other weights and states
            raise self._no_state() from error

    def _set(self, content):
        self.model.load_state_dict(content["weights"])
        for optimizer, saved in zip(self.optimizers, content["optimizers"], strict=True):
            if isinstance(optimizer, torch.optim.Optimizer):
                _check_optimizer(optimizer, saved)
            optimizer.load_state_dict(saved)
        if RANK == 0:
            torch.set_rng_state(content["random"])
            if self.device.type == "cuda" and "cuda_random" in content:
                torch.cuda.set_rng_state(content["cuda_random"], self.device)

    def _read(self):
        if not self.path.exists():
            say(f"Nothing to resume at {self.path}: training starts from the beginning")
            return None
        content = read(self.path)
        if isinstance(content, dict) and "settings" in content:  # the name of the field in earlier versions
            content["fingerprint"] = content.pop("settings")
        fields = FIELDS | (TRAINING if isinstance(content, dict) and "weights" in content else {})
        if not is_of_format(content, fields):
            raise self._no_state()
        return content

    def _no_state(self):
        return UserError(f"{self.path} is no state of this toolkit, or is damaged; start again without --resume")


def _check_optimizer(optimizer, saved):
    """Raises ValueError if a saved state does not have the fields and shapes of the optimizer."""
    for group, other in zip(optimizer.param_groups, saved["param_groups"], strict=True):
        if {name: type(value) for name, value in group.items()} != {name: type(value) for name, value in other.items()}:
            raise ValueError("other options")
    params = [param for group in optimizer.param_groups for param in group["params"]]
    for i, state in saved["state"].items():
        sizes = {name: value.numel() for name, value in state.items() if isinstance(value, torch.Tensor)}
        if state.keys() not in STATES or any(n not in (1, len(params[i]), params[i].numel()) for n in sizes.values()):
            raise ValueError("other fields or shapes")
        if state.keys() - sizes.keys() - {"step"}:
            raise ValueError("not tensors")
