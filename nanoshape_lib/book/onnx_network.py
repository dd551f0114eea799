"""The shipped network as ONNX, and the WebAssembly that computes it in the browser."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from nanoshape_lib.book.assets import write_asset, write_json
from nanoshape_lib.book.javascript import MODULES
from nanoshape_lib.datasets.design import DatasetDesign
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks.models import IMAGE_PIXELS, PlainCNN, load_weights
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.paths import DATA
from nanoshape_lib.widgets.knobs import KNOBS

WEIGHTS = DATA / "weights" / "cnn6.safetensors"
RUNTIME = MODULES / "onnxruntime-web" / "dist" / "ort-wasm-simd-threaded.wasm"
LARGEST = 32_767


def network_asset(folder: Path, weights: Path = WEIGHTS) -> None:
    """Write the assets ``network`` (ONNX) and ``network-card`` (JSON) of a plain CNN.

    The card holds ``architecture``, ``temperature`` (divides the logits before the softmax), ``classes`` (titles of
    the shapes in the order of the logits), ``accuracy`` on the test images, ``profile`` (name and summary), and
    ``seen``: the least and the greatest value of every knob in the training images.

    Parameters
    ----------
    folder
        Where the page looks for its assets.
    weights
        Weights with their card beside them, as a study writes them.

    Raises
    ------
    NanoshapeError
        If the weights are not those of a plain CNN, or their card has no temperature, accuracy or profile.
    """
    model, card = load_weights(weights)
    missing = [name for name in ("temperature", "test_accuracy", "profile") if name not in card]
    if missing:
        raise NanoshapeError(
            f"the card of {weights} has no {' and no '.join(missing)}; give weights that a study wrote"
        )
    write_asset(folder, "network", export_network(model).SerializeToString())
    shown = {
        "architecture": card["architecture"],
        "temperature": card["temperature"],
        "classes": [shape.title for shape in Shape],
        "accuracy": card["test_accuracy"],
        "profile": {name: card["profile"][name] for name in ("name", "summary")},
        "seen": seen(DatasetDesign.model_validate(card["profile"]["dataset"])),
    }
    write_json(folder, "network-card", shown)


def seen(design: DatasetDesign) -> dict[str, tuple[float, float]]:
    """Least and greatest value of the defocus and of every knob of the instrument in a data set."""
    known = design.microscope.model_dump() | design.camera.model_dump()
    values = {knob.name: (known[knob.field] / knob.scale,) * 2 for knob in KNOBS.values() if knob.field}
    return values | {"defocus_A": (min(design.defoci_A), max(design.defoci_A))}


def runtime_asset(folder: Path) -> None:
    """Write the asset ``runtime-wasm``: ONNX Runtime's WebAssembly, from the npm package that the build installed.

    Raises
    ------
    NanoshapeError
        If the package is not there.
    """
    if not RUNTIME.is_file():
        raise NanoshapeError(f"{RUNTIME} is missing: install_javascript() of nanoshape_lib.book.javascript fetches it")
    write_asset(folder, "runtime-wasm", RUNTIME.read_bytes())


def export_network(model: nn.Module) -> onnx.ModelProto:
    """A plain CNN as an ONNX graph, from images (N, 1, 128, 128) as they are, [x, y], to logits (N, 5).

    The graph standardises each image itself, as :func:`nanoshape_lib.simulation.imaging.standardise` does. Weights are
    whole
    numbers of 16 bits with one scale for each output channel, which halves the file; that scale is positive, passes
    through the max pooling and is joined with the batch normalisation's.

    Parameters
    ----------
    model
        A `PlainCNN`; its running means and variances are used.

    Returns
    -------
    onnx.ModelProto
        Input ``image``, output ``logits``.

    Raises
    ------
    NanoshapeError
        For any other network.
    """
    if not isinstance(model, PlainCNN):
        raise NanoshapeError(f"the network is a {type(model).__name__}, but only a plain CNN is written as ONNX")
    graph = _Graph()
    data = graph.standardise("image")
    scale = np.ones(1, np.float32)
    for layer in [*model.features, *model.head]:
        if isinstance(layer, nn.Conv2d):
            weights, scale = graph.whole_numbers(_array(layer.weight))
            data = graph.add("Conv", data, weights, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        elif isinstance(layer, nn.MaxPool2d):
            data = graph.add("MaxPool", data, kernel_shape=[2, 2], strides=[2, 2])
        elif isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None and layer.running_var is not None
            gain = _array(layer.weight) / np.sqrt(_array(layer.running_var) + layer.eps)
            shift = _array(layer.bias) - gain * _array(layer.running_mean)
            data = graph.scale_and_shift(data, (gain * scale)[:, None, None], shift[:, None, None])
        elif isinstance(layer, nn.ReLU):
            data = graph.add("Relu", data)
        elif isinstance(layer, nn.Flatten):
            data = graph.add("Flatten", data)
        elif isinstance(layer, nn.Linear):
            weights, scale = graph.whole_numbers(_array(layer.weight), transposed=True)
            data = graph.scale_and_shift(graph.add("MatMul", data, weights), scale, _array(layer.bias))
    return graph.close()


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy()


class _Graph:
    """Nodes and constants of an ONNX graph; every node has one output, named after its place."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node; the name of its output."""
        name = f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, values: np.ndarray) -> str:
        """A constant; its name."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def standardise(self, images: str) -> str:
        """Images less their means, over their standard deviations."""
        axes = self.constant(np.array([2, 3]))
        deviations = self.add("Sub", images, self.add("ReduceMean", images, axes))
        variance = self.add("ReduceMean", self.add("Mul", deviations, deviations), axes)
        tiny = self.constant(np.array(1e-12, np.float32))
        return self.add("Div", deviations, self.add("Max", self.add("Sqrt", variance), tiny))

    def whole_numbers(self, weights: np.ndarray, transposed: bool = False) -> tuple[str, np.ndarray]:
        """Weights (out, ...) as 16-bit numbers, read as float32; and the scale (out,) that makes them weights again."""
        scale = np.abs(weights.reshape(len(weights), -1)).max(axis=1).clip(min=1e-12) / np.float32(LARGEST)
        rounded = np.rint(weights.T / scale).astype(np.int16)
        return self.add("Cast", self.constant(rounded if transposed else rounded.T), to=TensorProto.FLOAT), scale

    def scale_and_shift(self, data: str, scale: np.ndarray, shift: np.ndarray) -> str:
        """Data times a scale plus a shift, for each channel."""
        return self.add("Add", self.add("Mul", data, self.constant(scale)), self.constant(shift))

    def close(self) -> onnx.ModelProto:
        """The checked model; the last node's output becomes ``logits``."""
        self._nodes[-1].output[0] = "logits"
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, IMAGE_PIXELS, IMAGE_PIXELS])
        output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(Shape)])
        graph = helper.make_graph(self._nodes, "classifier", [image], [output], self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.checker.check_model(model, full_check=True)
        return model
