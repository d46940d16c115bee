"""The state of a training in a file, from which `--resume` continues."""

import time
from pathlib import Path

import torch

from cli.console import RANK, UserError, say
from cli.files import replacing
from engine.checkpoint import FORMAT, read
from engine.ranks import from_first


class State:
    """What a run resumes from, in a file: settings, progress, weights, optimizers, random numbers.

    settings: all that decides the weights; a file of other settings is refused. model: None for a run that is over.
    optimizers: whatever has a `state_dict`. The first of several ranks writes and reads.
    """

    def __init__(self, path, settings, device, model=None, optimizers=()):
        self.path, self.settings, self.device = Path(path), settings, device
        self.model, self.optimizers = model, optimizers
        self.saved_at = self.cost = 0.0

    def clear(self):
        if RANK == 0:
            self.path.unlink(missing_ok=True)

    def save(self, progress, now=True):
        """Writes the file; with `now` false only where that keeps all writing to a tenth of the time at the most."""
        start = time.monotonic()
        if RANK or (not now and start - self.saved_at < 10 * self.cost):
            return
        content = {"format": FORMAT, "settings": self.settings, "progress": progress}
        if self.model:
            content["weights"] = self.model.state_dict()
            content["optimizers"] = [optimizer.state_dict() for optimizer in self.optimizers]
            content["random"] = torch.get_rng_state()
            if self.device.type == "cuda":
                content["cuda_random"] = torch.cuda.get_rng_state(self.device)
        with replacing(self.path) as file:
            torch.save(content, file)
        self.saved_at = time.monotonic()
        self.cost = self.saved_at - start

    def restore(self):
        """Sets model, optimizers and random numbers to the saved ones; returns the progress, None where none is saved.

        Raises UserError where the file is of other settings or other data, naming what differs.
        """
        content = from_first(self._read() if RANK == 0 else None)
        if content is None:
            return None
        there = content["settings"]
        differences = [
            f"{name} {there.get(name)!r} there, {self.settings.get(name)!r} here"
            for name in there | self.settings
            if there.get(name) != self.settings.get(name)
        ]
        if differences:
            raise UserError(
                f"{self.path} is of a run with other settings or data: {'; '.join(differences)}. "
                "Use those, or start anew without --resume"
            )
        if "weights" in content:
            self.model.load_state_dict(content["weights"])
            for optimizer, saved in zip(self.optimizers, content["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            if RANK == 0:
                torch.set_rng_state(content["random"])
                if self.device.type == "cuda" and "cuda_random" in content:
                    torch.cuda.set_rng_state(content["cuda_random"], self.device)
        return content["progress"]

    def _read(self):
        if not self.path.exists():
            say(f"Nothing to resume at {self.path}: training starts anew")
            return None
        content = read(self.path)
        if not isinstance(content, dict) or content.get("format") != FORMAT or "progress" not in content:
            raise UserError(f"{self.path} is no state of this toolkit's; start anew without --resume")
        return content
