"""Graphs in 8 bits beside those in float32, for all models."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from conftest import assert_close
from exported import LONGEST, batch_of, run
from exporting.quantization import LARGE, quantized


def test_a_quantized_graph_computes_nearly_the_same_logits(exported):
    classifier, graph = exported
    batch = batch_of([1 + i % LONGEST for i in range(100)], classifier.config)
    assert_close(run(classifier, quantized(graph), batch), run(classifier, graph, batch), 0.05)


def test_rows_do_not_depend_on_those_beside_them(exported):
    classifier, graph = exported
    graph = quantized(graph)
    batch = batch_of([LONGEST, 3, 17], classifier.config)
    parts = {name: each[1:2] for name, each in batch._asdict().items() if each is not None}
    alone = batch._replace(**parts | {name: parts[name][:, :3] for name in ("tokens", "word_ends")})
    assert_close(run(classifier, graph, alone), run(classifier, graph, batch)[1:2], 1e-4)


def test_large_matrices_have_a_byte_a_number(exported):
    graph = quantized(exported[1]).graph
    floats = [each for each in graph.initializer if each.data_type == TensorProto.FLOAT and len(each.dims) > 1]
    large = [each.name for each in floats if np.prod(each.dims) >= LARGE and "_scales_" not in each.name]
    assert large == []


def test_the_graph_in_float32_stays_as_it_is():
    model = product(np.ones((64, 32), np.float32))
    before = model.SerializeToString()
    assert quantized(model).SerializeToString() != before
    assert model.SerializeToString() == before


@pytest.mark.parametrize("rows", [np.zeros((2, 64)), np.eye(64)[:3] * 1e-38, np.full((1, 64), -3e8)])
def test_products_of_extreme_rows(rows):
    matrix = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    matrix[:, 3] = 0
    expected = rows @ matrix
    session = onnxruntime.InferenceSession(quantized(product(matrix)).SerializeToString())
    (found,) = session.run(None, {"x": rows.astype(np.float32)})
    np.testing.assert_allclose(found, expected, atol=0.02 * max(1e-30, np.abs(expected).max()))


def product(matrix):
    """A graph of x, (rows, K), times a matrix."""
    axes = ["rows", matrix.shape[0]], ["rows", matrix.shape[1]]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, a) for name, a in zip("xy", axes, strict=True))
    node = helper.make_node("MatMul", ["x", "matrix"], ["y"])
    graph = helper.make_graph([node], "product", [x], [y], [numpy_helper.from_array(matrix, "matrix")])
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
