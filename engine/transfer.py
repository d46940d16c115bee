"""A trained model's weights and counts of n-grams, for other classes and more tokens."""

import numpy as np
import torch

from models.counts import own_counts

TOKENS = ("embedding.tokens.weight", "tables.0.weight")  # weights with a row for each token, padding last
CLASSES = ("classifier.weight", "classifier.bias")  # weights with a row for each class
EVIDENCE = "embedding.evidence.weight"  # has a column for each length of n-gram and class


@torch.no_grad()
def copy_weights(model, old, index):
    """Copies the weights of a model of the same `Config`, for other classes and for fewer tokens.

    index: (C,), the model's class of each of the old classes, -1 for a lost one. A new token starts as the mean of all
    others. A new class starts at random in the classifier, and its evidence at 0, so that the logits of others stay.
    """
    kept = index >= 0
    weights = model.state_dict()  # shares their memory
    for name, before in ((name, before) for name, before in old.state_dict().items() if name in weights):
        weight = weights[name]
        if name in TOKENS:
            weight[:-1] = before[:-1].mean(dim=0)
            weight[: len(before) - 1] = before[:-1]
        elif name in CLASSES:
            weight[index[kept]] = before[kept]
        elif name == EVIDENCE:
            by_class = weight.zero_().view(len(weight), -1, len(weights["classifier.bias"]))
            by_class[..., index[kept]] = before.view(len(before), -1, len(index))[..., kept]
        else:
            weight.copy_(before)


@torch.no_grad()
def counted(evidence, batches, index, num_classes):
    """Whether an `Evidence` has counted each row of a split's Batches, (N,) bool: its class has each n-gram of the row.

    With any number of labels a row, each of its classes has. index: the split's class of each of the classes of the
    Evidence. A row must not count twice: it would not be left out of the counts when the model is trained on it.
    """
    former = torch.full((num_classes,), -1)
    former[index[index >= 0]] = torch.arange(len(index))[index >= 0]
    former = former.to(batches.device)
    found = np.zeros(len(batches.lengths), bool)
    evidence.eval()
    for row_ids in batches.by_length():
        batch = batches.whole(row_ids)
        counts = evidence.count(batch)  # (W, T, N, columns), of the rows' windows
        own, is_new = former_labels(batch.labels, former, len(index))
        lacking = (counts <= 0) & batch.by_window(own_counts(own, counts.shape[3]))[:, None, None]
        lacking = lacking.any(dim=3) & (evidence.keys_of(batch) >= 0)  # (W, T, N)
        known = (~lacking.any(dim=2) | ~batch.mask).all(dim=1)
        whole = batch.mean(known.float()[:, None])[:, 0] == 1
        found[row_ids] = (whole & ~is_new).cpu().numpy()
    return found


def former_labels(labels, former, num_former):
    """Labels, (B,) or (B, C), as those of other classes, and whether a row has one that these do not have, (B,).

    former: (C,), the other class of each class, -1 for none; num_former: the number of the others.
    """
    if labels.dim() == 1:
        return former[labels], former[labels] < 0
    own = labels.new_zeros(len(labels), num_former)
    own[:, former[former >= 0]] = labels[:, former >= 0]
    return own, labels[:, former < 0].any(dim=1)
