"""Models of all kinds with random weights, saved and exported, for tests of `exporting`."""

import numpy as np
import torch

from conftest import sample_rows
from engine import checkpoint
from engine.batches import Batches
from engine.calibration import Calibration
from engine.counting import count
from engine.label_calibration import MultiLabelCalibration
from engine.predictor import Predict
from exporting import predict_onnx
from exporting.content import write_export
from models import LINEAR, model_module
from models.base import DataSpec
from models.encoder_files import read_config
from models.evidence import with_evidence
from models.linear import n_grams_of
from text.aliases import aliases_of
from text.hierarchy import Hierarchy
from text.vocabulary import Vocabulary
from text.wordpiece_files import read_wordpieces

CLASSES = ["商业/财经", "商业/房产", "股票"]
SMALL = {
    "TextCNN": {"embed": 8, "num_filters": 4},
    "FastText": {"embed": 8, "hidden_size": 6, "n_gram_vocab": 101},
    "Transformer": {"embed": 8},
}
ODD = [  # texts that few people think of
    "",
    "  ",
    "一",
    "😀",
    "坏\ud83d",
    "\udc00",
    "[SEP]",
    "中 国  银 行",
    "Ａ股\t三大\n股指",
    "\u200b",
    "\u200b\u200d\0",
    "abc def",
    "北京房價上漲　Ａ股３大股指\u200b收漲",
    "房\ufeff價\u200b上\u200d漲 \u200b",
    "央行下调存款准备金率" * 30,
    "北京二手房价格上涨 A股三大股指收涨",
    *(text for text, _ in sample_rows("dev", {0, 1, 2}, 40)),
]


def saved_model(name, directory, multi_label=False, segmenter="char", encoder=None, hierarchical=False, **settings):
    """The `Predict` of a model with random weights, and n-grams of the sample, saved in a directory.

    encoder: the directory of its encoder; settings: of its `Config`.
    """
    torch.manual_seed(7)
    rng = np.random.default_rng(7)
    texts, labels = zip(*sample_rows("train", {0, 1, 2}, 120), strict=True)
    labels = rng.integers(0, 2, (len(texts), len(CLASSES))) if multi_label else np.array(labels)
    module, found = model_module(name), read_config(encoder) if encoder else None
    smoothing = {} if name in LINEAR else {"smoothing": 0.1}
    config = module.Config(**{"pad_size": 20, **smoothing, **SMALL.get(name, {}), **settings})
    if encoder:
        vocabulary = read_wordpieces(encoder, found["vocab_size"]).with_aliases()
    else:
        probe = Vocabulary([], segmenter)
        pieces = [token for text in texts[:80] for token in tokens_of(text, probe)]
        aliases = aliases_of("".join(pieces))
        vocabulary = Vocabulary(list(dict.fromkeys(pieces)), segmenter, 3, segmenter == "char", aliases)
    batches = Batches(vocabulary.encode_texts(texts), labels, vocabulary, config.truncation)
    model = module.Model(config, DataSpec(len(CLASSES), len(vocabulary), found))
    longest = config.n_grams if name in LINEAR else config.evidence
    counts = count(batches, len(CLASSES), longest, words=config.words) if longest else None
    if name in LINEAR:
        keys, table, rows = n_grams_of(counts)
        model.build(keys)
        model.prepare(table, rows, len(texts))
        model.table.weight.data[:-1].normal_()
    else:
        model = with_evidence(model, config, counts)
    for parameter in model.parameters():  # biases and tables start at zero
        parameter.data += 0.1 * torch.randn_like(parameter) * (torch.rand_like(parameter) < 0.5)
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
            module.weight.data[module.padding_idx] = 0
    calibration = Calibration(1.3)
    if hierarchical:
        calibration = Calibration.usual(Hierarchy(CLASSES, True))._replace(temperature=0.7)
    if multi_label:
        calibration = MultiLabelCalibration(torch.tensor([0.5, 1.0, 2.0]), torch.tensor([0.2, 0.5, 0.6]))
    saved = checkpoint.Classifier(name, config, CLASSES, vocabulary, found, model, {}, calibration)
    path = checkpoint.path_of(directory, name)
    checkpoint.save(path, saved)
    return Predict(checkpoint=path, device="cpu", amp="off")


def tokens_of(text, vocabulary):
    from text.vocabulary import words

    return text if vocabulary.segmenter == "char" else words(text, vocabulary.segmenter)


def exported(predictor, directory, quantize=None, texts=()):
    """The `predict_onnx.Predict` of what is exported to a new directory."""
    directory.mkdir()
    write_export(predictor.saved, directory, quantize, texts)
    return predict_onnx.Predict(directory, threads=1)
