"""The networks, one file a model with its `Config` and its `Model`."""

import importlib

NETWORKS = ("TextCNN", "TextRNN", "TextRNN_Att", "TextRCNN", "FastText", "DPCNN", "Transformer")


def model_module(name):
    """The module of a model in `NETWORKS`."""
    return importlib.import_module(f"models.{name}")
