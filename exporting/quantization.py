"""A graph whose matrices have 8 bits a number: levels from -127 to 127, and float32 scales for their rows or columns.

- The rows of a table are read as levels, and then scaled.
- A product with a matrix is computed on levels. Those of the other factor are found while the graph runs, with a scale
  for each token, so that a text's logits do not depend on the texts beside it (`quantize_dynamic` of ONNX Runtime has
  one scale for the whole batch). They have 7 bits: processors without instructions for 8 bits add two products in 16.
- All other matrices, such as those of an LSTM, are restored to float32 when a session loads the graph.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LARGE = 1024  # numbers of a matrix that is quantized
NARROW = 20  # columns of a table below which its columns are scaled, since scales of rows would take too many bytes
HIGHEST, HIGHEST_INPUT = 127, 63  # levels of a matrix, and of the other factor of a product
ZERO = 64  # what is added to the latter levels, so that they are unsigned
CONSTANTS = {
    "last_axis": np.array([-1]),
    "smallest": np.float32(1e-30),
    "input_step": np.float32(1 / HIGHEST_INPUT),
    "input_zero": np.uint8(ZERO),
}


def quantized(model):
    """A copy of an `onnx.ModelProto` of float32 whose large matrices have 8 bits a number."""
    writer = Writer({each.name: numpy_helper.to_array(each) for each in model.graph.initializer})
    for node in model.graph.node:
        writer.add(node)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.initializer[:]
    result.graph.node.extend(writer.nodes)
    used = {name for node in writer.nodes for name in node.input}
    arrays = {name: array for name, array in writer.arrays.items() if name in used}
    result.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    return result


class Writer:
    """Writes the nodes and arrays of a quantized graph. arrays: by name, those of the graph in float32."""

    def __init__(self, arrays):
        self.arrays, self.nodes = arrays | CONSTANTS, []
        self.matrices = {name for name, a in arrays.items() if a.dtype == np.float32 and a.ndim > 1 and a.size >= LARGE}

    def add(self, node):
        """Writes the node, or those that replace it."""
        if node.op_type == "Gather" and node.input[0] in self.matrices:
            self.add_rows(*node.input, node.output[0])
        elif node.op_type == "MatMul" and node.input[1] in self.matrices:
            self.add_product(*node.input, node.output[0])
        else:
            for name in self.matrices.intersection(node.input):
                self.restore(name)
            self.nodes.append(node)

    def add_rows(self, table, ids, output):
        """The rows of a table at these ids."""
        narrow = self.arrays[table].shape[1] < NARROW
        levels, scales = self.quantize(table, axis=0 if narrow else 1)
        rows = self.floats(self.write("Gather", levels, ids))
        self.write("Mul", rows, scales if narrow else self.write("Gather", scales, ids), output=output)

    def add_product(self, x, matrix, output):
        """The matrix product of x, (..., K), and a matrix, (K, N)."""
        levels, scales = self.quantize(matrix, axis=0)
        largest = self.write("ReduceMax", self.write("Abs", x), "last_axis")
        largest = self.write("Max", largest, "smallest")  # (..., 1)
        inputs = self.write("QuantizeLinear", self.write("Div", x, largest), "input_step", "input_zero")
        products = self.floats(self.write("MatMulInteger", inputs, levels, "input_zero"))
        scales = self.write("Mul", scales, "input_step")
        self.write("Mul", self.write("Mul", products, largest), scales, output=output)

    def restore(self, name):
        """A matrix, in float32 under its name, for nodes that take no levels."""
        levels, scales = self.quantize(name, axis=-1)
        self.write("Mul", self.floats(levels), scales, output=name)
        self.matrices.remove(name)
        del self.arrays[name]

    def quantize(self, name, axis):
        """Stores a matrix as levels and scales, one along this axis; returns their names."""
        levels, scales = f"{name}_levels_{axis}", f"{name}_scales_{axis}"
        matrix = self.arrays[name]
        self.arrays[scales] = np.abs(matrix).max(axis=axis, keepdims=True) / np.float32(HIGHEST)
        smallest = np.finfo(np.float32).tiny
        self.arrays[levels] = np.rint(matrix / np.maximum(self.arrays[scales], smallest)).astype(np.int8)
        return levels, scales

    def floats(self, name):
        return self.write("Cast", name, to=TensorProto.FLOAT)

    def write(self, operator, *inputs, output=None, **attributes):
        """Writes a node; returns the name of its output."""
        output = output or f"quantized_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output
