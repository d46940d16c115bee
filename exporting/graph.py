"""The float part of a model as an ONNX graph.

N-grams are looked up outside the graph, and their ratios or values are its inputs. With free axes `batch` and `length`:

- networks and encoders: `tokens` int64 (batch, length), padded at the right; `lengths` int64 (batch); with n-gram
  evidence `evidence` float32 (batch, length, N * C), the ratios times their factors, zeros at padding and for unknown
  n-grams; with hashed n-grams and `--long head_tail` `joints` int64 (batch), as in a `Batch`
- linear models: `ids` int64 (batch, length) of n-grams and `values` float32 of the same shape, as `Linear.features`

The output is `logits` float32 (batch, C).
"""

import copy
import io
import warnings

import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

from engine.batches import Batch
from exporting.replacements import replaced
from models import LINEAR
from models.tables import Table
from text.truncation import HEAD_TAIL

OPSET, IR = 20, 10  # versions of ONNX's operators and of its files
ROWS, TOKENS = 2, 3  # of the example that is traced; different numbers, and the fewest tokens that suit all models
AXES = ("batch", "length")


class NetworkLogits(nn.Module):
    """The logits of a network, with the part of `Evidence.forward` that follows the ratios."""

    def __init__(self, model, has_evidence):
        super().__init__()
        network = model.model if has_evidence else model
        shared = [*network.parameters(), *network.buffers()]
        self.network = replaced(copy.deepcopy(network, {id(tensor): tensor for tensor in shared}))
        self.bias = model.bias if has_evidence else None

    def forward(self, tokens, lengths, evidence=None, joints=None):
        batch = Batch(tokens, lengths, labels=None, evidence=evidence, joints=joints)
        logits = self.network(batch)
        if evidence is None:
            return logits
        sums = evidence.sum(dim=1).unflatten(1, (-1, len(self.bias))).sum(dim=1)
        return logits + self.bias + sums / lengths[:, None].sqrt()


def example_of(classifier):
    """An example of each input of a network's graph, by name."""
    config, shape = classifier.config, (ROWS, TOKENS)
    inputs = {"tokens": torch.zeros(shape, dtype=torch.int64), "lengths": torch.full((ROWS,), TOKENS)}
    if config.n_grams_per_token:
        inputs["evidence"] = torch.zeros(*shape, config.n_grams_per_token * len(classifier.classes))
    if config.long == HEAD_TAIL and any(isinstance(module, Table) for module in classifier.model.modules()):
        inputs["joints"] = torch.zeros(ROWS, dtype=torch.int64)
    return inputs


def graph_of(classifier):
    """The `onnx.ModelProto` of a Classifier on the CPU, in float32, with the inputs and the output above.

    It shares no memory with the model, which stays as it is.
    """
    return linear_graph(classifier) if classifier.name in LINEAR else network_graph(classifier)


def linear_graph(classifier):
    """The graph of a linear model: the weights of a row's n-grams times their values."""
    model, num_classes = classifier.model, len(classifier.classes)
    weights = {"weight": model.table.weight, "bias": model.bias, "one": torch.tensor([1])}
    nodes = [
        helper.make_node("Gather", ["weight", "ids"], ["rows"]),  # (batch, length, C)
        helper.make_node("Unsqueeze", ["values", "one"], ["row"]),  # (batch, 1, length)
        helper.make_node("MatMul", ["row", "rows"], ["products"]),
        helper.make_node("Squeeze", ["products", "one"], ["sums"]),
        helper.make_node("Add", ["sums", "bias"], ["logits"]),
    ]
    inputs = [
        helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, AXES),
        helper.make_tensor_value_info("values", onnx.TensorProto.FLOAT, AXES),
    ]
    outputs = [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [AXES[0], num_classes])]
    initializers = [numpy_helper.from_array(tensor.detach().cpu().numpy(), name) for name, tensor in weights.items()]
    graph = helper.make_graph(nodes, classifier.name, inputs, outputs, initializers)
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(graph, ir_version=IR, opset_imports=[opset])


@torch.no_grad()
def network_graph(classifier):
    """The graph of a network or of a model on an encoder.

    The exporter is the one that traces tensors. The one that traces symbols (`dynamo=True`) takes more than ten times
    as long, needs another package, and fixes the number of tokens of a `models.DPCNN`.
    """
    inputs = example_of(classifier)
    module, file = NetworkLogits(classifier.model, "evidence" in inputs).eval(), io.BytesIO()
    axes = {name: dict(enumerate(AXES[: tensor.dim()])) for name, tensor in inputs.items()}
    with warnings.catch_warnings(action="ignore"):  # of sizes that are the same for all inputs, and of its deprecation
        torch.onnx.export(
            module,
            kwargs=inputs,
            f=file,
            dynamo=False,
            opset_version=OPSET,
            dynamic_axes=axes | {"logits": {0: AXES[0]}},
            input_names=list(inputs),
            output_names=["logits"],
        )
    return tidied(onnx.load_from_string(file.getvalue()))


def tidied(model):
    """The graph without the names of scopes, which say nothing to a reader and may have paths of this machine."""
    for part in [model.graph, *model.graph.node]:
        part.ClearField("doc_string")
    del model.graph.value_info[:]
    return model
