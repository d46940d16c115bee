"""How the training of encoders differs: parameter groups and frozen layers. The loop is `train_eval`'s."""

import torch

from cli.console import UserError


def make_optimizers(model, config, layers=(), layer_decay=1.0):
    """AdamW without weight decay on biases and LayerNorm.

    layers: an encoder's parameters from the bottom up, a list a layer. The learning rate is multiplied by
    `layer_decay` at each layer, from the top down. All other parameters use the full rate.
    """
    depth = {id(weight): len(layers) - i for i, layer in enumerate(layers) for weight in layer}
    weights = {}
    for weight in model.parameters():
        if weight.requires_grad:
            rate = config.learning_rate * layer_decay ** depth.get(id(weight), 0)
            decay = config.weight_decay if weight.dim() > 1 else 0.0
            weights.setdefault((rate, decay), []).append(weight)
    groups = [
        {"params": params, "lr": rate, "initial_lr": rate, "weight_decay": decay}
        for (rate, decay), params in weights.items()
    ]
    return [torch.optim.AdamW(groups, fused=True)]


def freeze(encoder, count):
    """Excludes the embedding and the `count` lowest layers of an encoder from training; with 0 all are trained."""
    layers = encoder.layers()
    if count >= len(layers):
        raise UserError(
            f"--freeze {count} is out of range, the encoder has {len(layers) - 1} layers of its own weights"
        )
    for layer in layers[: count + 1 if count else 0]:
        for weight in layer:
            weight.requires_grad_(False)
