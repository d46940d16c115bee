"""Novelty: how unlike the training texts a text is, from 0 to 1.

The score is the mean of three shares: of the text's tokens that no training text has, of its longest n-grams, and of
the probability that the predicted class does not have. The energy of the logits, Liu et al. 2020,
https://arxiv.org/abs/2010.03759, finds less: the evidence of known n-grams adds up in any language.
"""

import numpy as np
import torch

from engine.batches import Batches
from models.tables import keys_of


class Novelty:
    """Scores texts by what a `predictor.Predict` knows of them, as a column of `predictions.Lines`."""

    def __init__(self, predictor):
        self.predictor = predictor

    def __call__(self, texts, probabilities):
        """The novelty of each text, a list of floats: 0 for white space, 1 for a text without a token that is read.

        probabilities: those of the texts, (N, C).
        """
        texts = [text.strip() for text in texts]
        saved, vocabularies = self.predictor.saved, self.predictor.vocabularies
        pairs = zip(saved.shares, saved.members, vocabularies, strict=True)
        unknown = sum(share * self._unknown(member, texts, vocabulary) for share, member, vocabulary in pairs)
        scores = (2 * unknown + 1 - probabilities.max(axis=1)) / 3
        return [round(float(score), 4) if text else 0.0 for text, score in zip(texts, scores, strict=True)]

    @torch.no_grad()
    def _unknown(self, member, texts, vocabulary):
        """The mean of the shares of each text's tokens and longest n-grams that a model does not know, (N,).

        A model without a dictionary of n-grams, as that of a paper, knows tokens alone.
        """
        batches = Batches(
            vocabulary.encode_texts(texts), None, vocabulary, member.config.truncation, self.predictor.device
        )
        dictionary = hasattr(member.model, "find")
        shares = np.ones(len(texts))
        for row_ids in batches.by_length():
            batch = batches.whole(row_ids)
            known = (batch.tokens != vocabulary.unk)[..., None]  # (B, T, 1), with a dictionary (B, T, 2)
            if dictionary:
                found = member.model.find(keys_of(batch.tokens, member.model.longest, batch.joints)) > 0
                known = torch.cat((known & found[..., :1], found[..., -1:]), dim=2)
            count = (known & batch.mask[..., None]).sum(dim=1) / batch.lengths[:, None]
            shares[row_ids] = 1 - batch.mean(count).mean(dim=1).cpu().numpy()
        return shares
