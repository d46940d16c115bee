"""The models, one file each with its `Config` and `Model`: networks, and pre-trained encoders with a head."""

import importlib

NETWORKS = ("TextCNN", "TextRNN", "TextRNN_Att", "TextRCNN", "FastText", "DPCNN", "Transformer")
ENCODERS = ("bert", "ERNIE", "bert_CNN", "bert_RNN", "bert_RCNN", "bert_DPCNN", "bert_LayerAtt")


def model_module(name):
    """The module of a model in `NETWORKS` or `ENCODERS`."""
    return importlib.import_module(f"models.{name}")


def trainer(names):
    """The script that trains these models."""
    return "pretrain_run.py" if set(names) <= set(ENCODERS) else "run.py"
