"""Graphs beside the models that they are exported from, for all models."""

import onnx

from conftest import assert_close
from exported import LONGEST, batch_of, run

LENGTHS = [[1], [2], [31], [32], [33], [LONGEST], [5, 1, 2], [1 + i % LONGEST for i in range(257)]]


def test_a_graph_computes_a_models_logits(exported):
    classifier, graph = exported
    for lengths in LENGTHS:
        batch = batch_of(lengths, classifier.config)
        assert_close(run(classifier, graph, batch), classifier.model(batch), 1e-4)


def test_padding_changes_nothing_in_a_graph(exported):
    classifier, graph = exported
    lengths = [3, LONGEST - 7, 1]
    together = run(classifier, graph, batch_of(lengths, classifier.config))
    assert_close(run(classifier, graph, batch_of(lengths, classifier.config, pad_to=LONGEST)), together, 1e-5)


def test_a_graph_is_valid_and_has_the_inputs_that_its_config_asks_for(exported):
    classifier, graph = exported
    onnx.checker.check_model(graph, full_check=True)
    config, rows, tokens = classifier.config, ["batch"], ["batch", "length"]
    if hasattr(classifier.model, "features") and classifier.name in ("SVM", "NBSVM"):
        expected = {"ids": tokens, "values": tokens}
    else:
        expected = {"tokens": tokens, "lengths": rows}
        if config.evidence:
            expected["evidence"] = [*tokens, config.n_grams_per_token * len(classifier.classes)]
        if config.long == "head_tail":
            expected["joints"] = rows
    assert shapes(graph.graph.input) == expected
    assert shapes(graph.graph.output) == {"logits": ["batch", len(classifier.classes)]}
    content = graph.SerializeToString()
    assert b".py" not in content and b"/site-packages" not in content


def shapes(values):
    return {each.name: [d.dim_param or d.dim_value for d in each.type.tensor_type.shape.dim] for each in values}
