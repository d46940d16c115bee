"""The temperature of logits: the divisor with which their probabilities agree with the labels."""

import numpy as np

TINY = 1e-30  # so that nothing is divided by zero
LOWEST, HIGHEST = 1 / 32, 32.0


def best_temperature(logits, labels):
    """The temperature of logits, (N, C), with the lowest log loss on labels, (N,).

    As in Platt 1999, the labels are not quite certain: one row more is spread over all classes. Otherwise a model that
    is right in all rows of a small split would be certain of everything.
    """
    from scipy.optimize import minimize_scalar  # takes as long to load as a prediction

    uncertain = 1 / (len(labels) + 1)
    own = logits[np.arange(len(labels)), labels]
    target = ((1 - uncertain) * own + uncertain * logits.mean(axis=1)).mean()
    shifted = logits - logits.max(axis=1, keepdims=True)
    target -= logits.max(axis=1).mean()

    def loss(log_temperature):
        factor = np.exp(-log_temperature)
        return np.log(np.exp(factor * shifted).sum(axis=1)).mean() - factor * target

    return float(np.exp(minimize_scalar(loss, bounds=np.log((LOWEST, HIGHEST)), method="bounded").x))


def tempered(probabilities, temperature):
    """Probabilities at a temperature, (N, C); rows that are all 0 remain so."""
    if temperature == 1:
        return probabilities
    largest = probabilities.max(axis=1, keepdims=True)
    powers = (probabilities / np.where(largest > 0, largest, 1)) ** np.float32(1 / temperature)
    return powers / np.maximum(powers.sum(axis=1, keepdims=True), TINY)


def log_of(probabilities):
    """The logarithms of NumPy's probabilities, finite for 0 too."""
    return np.log(np.maximum(probabilities, TINY))
