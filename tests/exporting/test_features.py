import numpy as np
import pytest
import torch

from engine.batches import Batches
from exporting import features
from exporting.content import counts_arrays, vocabulary_content
from saved_models import ODD, saved_model

WAYS = [
    {},
    {"evidence": 1, "word_n_grams": 0},
    {"evidence": 5, "long": "head_tail"},
    {"pad_size": 2, "long": "head_tail"},
    {"long": "windows"},
    {"pad_size": 3, "long": "windows"},
    {"segmenter": "jieba"},
    {"segmenter": "space", "word_n_grams": 1},
    {"multi_label": True},
    {"pad_size": 1},
]


@pytest.mark.parametrize("settings", WAYS, ids=str)
def test_a_graph_gets_what_the_network_has(settings, tmp_path):
    member = saved_model("TextCNN", tmp_path, **settings).saved
    model, texts = member.model, [text.strip() for text in ODD]
    content, arrays = counts_arrays(member, None, ())
    n_grams = features.NGrams(content, arrays)
    vocabulary = features.Vocabulary(vocabulary_content(member.vocabulary))
    truncation = features.Truncation(member.config.truncation._asdict())
    ids, offsets = vocabulary.encode(texts)
    batches = Batches(member.vocabulary.encode_texts(texts), None, member.vocabulary, member.config.truncation)
    lengths = np.diff(offsets)
    windows = truncation.windows(lengths)
    assert windows.tolist() == (np.ones(len(texts)) if batches.windows is None else batches.windows).tolist()
    for rows in np.array_split(np.flatnonzero(lengths), 5):
        batch = batches.whole(rows)
        repeated = rows.repeat(windows[rows])
        index = np.concatenate([np.arange(count) for count in windows[rows]])
        tokens, own, joints = truncation.grid(vocabulary, ids, offsets[repeated], lengths[repeated], index)
        ends = tokens & 1 if vocabulary.marks_words else None
        tokens >>= vocabulary.marks_words
        assert tokens.tolist() == batch.tokens.tolist()
        assert own.tolist() == batch.lengths.tolist()
        assert joints.tolist() == (np.zeros(len(tokens)) if batch.joints is None else batch.joints).tolist()
        with torch.no_grad():
            ratios, levels = model.ratios(model.count(batch))
            expected = ratios * model.roots.square()[torch.arange(len(model.roots)), levels][..., None]
        found = n_grams.inputs(tokens, own, joints, ends)["evidence"]
        assert found.any()
        np.testing.assert_allclose(found, expected.flatten(2), atol=1e-5)
