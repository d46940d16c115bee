"""A trained model that classifies texts."""

from pathlib import Path

import numpy as np
import torch

from cli.console import UserError
from cli.files import default_dataset
from engine import checkpoint as checkpoints
from engine.batches import Batches, infer
from engine.device import autocast, enough_memory, pick_device, precision
from models import NETWORKS, trainer

WORKERS = 16  # threads at most, which take turns where they run Python


class Predict:
    """A trained network.

    model: its name, default the one whose checkpoint was written last; dataset: the directory that training wrote to;
    checkpoint: a file, in place of the two; amp: the precision, by default the fastest that the device has, `off` is
    float32. Raises UserError where there is no such checkpoint.
    """

    names = NETWORKS  # of the models that are looked for
    shares_cores = True  # a batch is too small for several cores, so that each takes batches of its own

    def __init__(self, model=None, dataset=None, checkpoint=None, device="auto", amp="auto"):
        self.path = Path(checkpoint) if checkpoint else find_checkpoint([model] if model else self.names, dataset)
        self.device = pick_device(device)
        self.amp = precision(amp, self.device)
        with enough_memory(self.device, "use --device cpu"):
            self.saved = checkpoints.load(self.path, self.device)
        self.classes = self.saved.classes
        self.cut = 0  # texts so far that were longer than pad_size
        self.stopped = False

    def predict(self, text):
        """A text's class; None where it is empty."""
        return self.predict_list([text])[0]

    def predict_list(self, texts):
        """Each text's class, in order; None where it is empty."""
        probabilities = self.predict_proba(texts)
        return [self.classes[row.argmax()] if row.any() else None for row in probabilities]

    def predict_proba(self, texts):
        """Each text's probability of each class, (N, C) float32; an empty text's are all 0."""
        probabilities, cut = self.compute(texts)
        self.cut += cut
        return probabilities

    def compute(self, texts):
        """What `predict_proba` gives, and how many of the texts were longer than pad_size.

        Several threads may call it. A `stopped` predictor ends after the batch at hand.
        """
        vocabulary, limit = self.saved.vocabulary, self.saved.config.pad_size
        rows = vocabulary.encode_texts([text.strip() for text in texts])
        probabilities = np.zeros((len(rows.lengths), len(self.classes)), np.float32)
        batches = Batches(rows, None, vocabulary, limit, self.device)
        with enough_memory(self.device, "use --device cpu"), autocast(self.device, self.amp):
            for numbers, _, logits in infer(self.saved.model, batches):
                probabilities[numbers] = logits.float().softmax(dim=1).cpu().numpy()
                if self.stopped:
                    break
        return probabilities, int((rows.lengths > limit).sum())

    @property
    def workers(self):
        """Threads that predict a file's texts, and the cores that each of them computes on."""
        cores = torch.get_num_threads()
        if self.device.type == "cpu":
            return (min(cores, WORKERS), 1) if self.shares_cores else (1, cores)
        return (2 if self.device.type == "cuda" else 1), cores  # two, for one encodes while the other's batches run


def find_checkpoint(names, dataset):
    """Of these models' checkpoints under a dataset the one that was written last."""
    directory = dataset or default_dataset()
    path = checkpoints.newest(directory, names)
    if path is None:
        what = f"no {names[0]}.ckpt" if len(names) == 1 else f"no checkpoint of {', '.join(names)}"
        train = f"python {trainer(names)} --model {names[0]}"
        raise UserError(f"{what} in {Path(directory) / 'saved_dict'}; train one: {train}")
    return path
