"""The models, one file each with `Config` and `Model`: networks, linear models, pre-trained encoders with a head."""

import importlib

NETWORKS = ("TextCNN", "TextRNN", "TextRNN_Att", "TextRCNN", "FastText", "DPCNN", "Transformer")
LINEAR = ("SVM", "NBSVM")
ENCODERS = ("bert", "ERNIE", "bert_CNN", "bert_RNN", "bert_RCNN", "bert_DPCNN", "bert_LayerAtt")
MODELS = NETWORKS + LINEAR + ENCODERS


def model_module(name):
    """The module of a model in `MODELS`."""
    return importlib.import_module(f"models.{name}")


def trainer(names):
    """The script that trains these models."""
    return "pretrain_run.py" if set(names) <= set(ENCODERS) else "run.py"
