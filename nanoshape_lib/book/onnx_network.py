"""The shipped network as ONNX, for ONNX Runtime in the browser."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks.models import IMAGE_PIXELS, PlainCNN
from nanoshape_lib.particles.shapes import Shape

LARGEST = 32_767
# Of the variance that an image is divided by: no image is so faint, and one without contrast still gives numbers.
LEAST_VARIANCE = 1e-30


def export_network(model: nn.Module) -> onnx.ModelProto:
    """A plain CNN as an ONNX graph from images ``image`` (N, 1, 128, 128), [x, y], to ``logits`` (N, 5).

    The graph standardises each image itself, by an instance normalisation. Weights are kept as whole numbers of 16
    bits with one scale for each output channel, which halves the file.

    Raises NanoshapeError for any other network.
    """
    if not isinstance(model, PlainCNN):
        raise NanoshapeError(f"the network is a {type(model).__name__}, but only a plain CNN is written as ONNX")
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def constant(values: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(values, f"constant_{len(constants)}"))
        return constants[-1].name

    def add(kind: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [f"{kind}_{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def weights(layer: nn.Conv2d | nn.Linear) -> str:
        values = layer.weight.detach().numpy()
        scale = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True).clip(min=1e-12) / LARGEST
        whole = np.rint(values / scale).astype(np.int16)
        return add("Mul", add("Cast", constant(whole), to=TensorProto.FLOAT), constant(scale.astype(np.float32)))

    one, zero = constant(np.ones(1, np.float32)), constant(np.zeros(1, np.float32))
    data = add("InstanceNormalization", "image", one, zero, epsilon=LEAST_VARIANCE)
    for layer in [*model.features, *model.head]:
        if isinstance(layer, nn.Conv2d):
            data = add("Conv", data, weights(layer), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        elif isinstance(layer, nn.MaxPool2d):
            data = add("MaxPool", data, kernel_shape=[2, 2], strides=[2, 2])
        elif isinstance(layer, nn.BatchNorm2d):
            state = [layer.state_dict()[name].numpy() for name in ("weight", "bias", "running_mean", "running_var")]
            data = add("BatchNormalization", data, *map(constant, state), epsilon=layer.eps)
        elif isinstance(layer, nn.ReLU):
            data = add("Relu", data)
        elif isinstance(layer, nn.Flatten):
            data = add("Flatten", data)
        elif isinstance(layer, nn.Linear):
            data = add("Gemm", data, weights(layer), constant(layer.bias.detach().numpy()), transB=1)
    nodes[-1].output[0] = "logits"
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, IMAGE_PIXELS, IMAGE_PIXELS])
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(Shape)])
    graph = helper.make_graph(nodes, "classifier", [image], [output], constants)
    exported = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(exported, full_check=True)
    return exported
