"""Which n-grams of a network's evidence can be left out of a smaller export.

The factor of an n-gram depends on its length and on how many training rows have it, see `models.evidence`; that of
four characters which one row has is nearly zero after training. The length is not in a key, a hash, but the training
texts show it.
"""

import torch

from engine.batches import Batches

LEAST = 0.05  # of an n-gram's evidence for or against some class; with 0.1 predictions begin to change


@torch.no_grad()
def telling(classifier, texts):
    """Whether each n-gram of a Classifier's dictionary says more than `LEAST` of some class, (F,) bool.

    texts: those that it was trained on. N-grams that they do not have are kept.
    """
    evidence = classifier.model
    ratios, levels = evidence.ready
    largest, factors = ratios.abs().amax(dim=1), evidence.roots.square()
    n = torch.arange(len(factors))
    is_telling = torch.ones(len(evidence.rows), dtype=torch.bool)
    rows = classifier.vocabulary.encode_texts([text.strip() for text in texts])
    batches = Batches(rows, None, classifier.vocabulary, classifier.config.truncation)
    for row_ids in batches.by_length():
        found = evidence.find(evidence.keys_of(batches.whole(row_ids)))  # (B, T, N), 0 for unknown n-grams
        own = evidence.rows[found]
        is_telling[found] = largest[own] * factors[n, levels[own]] > LEAST
    return is_telling[1:].numpy()
