"""A trained model for other programs: ONNX from its recorded forward pass, or a plain state dict in safetensors.

Every Function on the tape becomes a node, or a few, of an ONNX graph (https://onnx.ai/onnx/operators); NODES says
which. Weights keep their names. The first dimension of the input and of the logits, the batch, stays open.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from safetensors.numpy import save

from .autograd import Function, no_grad, tape
from .backend import CPU, Array, to_host
from .errors import DeviceError, UsageError
from .functional.activation import GELU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from .functional.attention import SelfAttention
from .functional.conv import Conv2d, Conv2dReluMaxPool
from .functional.linear import Linear
from .functional.norm import BatchNorm, LayerNorm, LocalResponseNorm
from .functional.pool import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from .functional.shape import Cat, Pad, Transpose
from .module import Module
from .tensor import Add, Div, MatMul, Mul, Pow, Reshape, Sub, Sum, Tensor

OPSET, IR_VERSION = 17, 10
CLOSE = 1e-5  # how far onnxruntime's logits may be from ours, beside the largest of them or 1


def to_safetensors(model: Module) -> bytes:
    """The state dict as a safetensors file with PyTorch's keys, for load_state_dict(..., strict=True) there."""
    return save({name: np.ascontiguousarray(array) for name, array in model.state_dict().items()}, {"format": "pt"})


def to_onnx(model: Module, input_shape: tuple[int, ...], meta: Mapping[str, str]) -> bytes:
    """An ONNX model: "images" (batch, *input_shape) float32 -> "logits" (batch, ...), as `model` computes it in eval().

    meta: becomes the model's properties. The model has passed ONNX's checker, with its inference of shapes.
    UsageError where a Function has no node, DeviceError without the package onnx.
    """
    onnx = _imported("onnx")
    images = Tensor(np.zeros((2, *input_shape), np.float32), requires_grad=True, device=_device(model))
    logits = model.eval()(images)
    graph = Graph({id(tensor.data): name for name, tensor in model.named_tensors()})
    graph.add(images, "images")
    for function in reversed(tape(logits)):
        graph.add_function(function)
    nodes = [onnx.helper.make_node(kind, inputs, [name], **words) for kind, inputs, name, words in graph.nodes]
    nodes.append(onnx.helper.make_node("Identity", [graph.name(logits)], ["logits"]))
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", *tensor.shape[1:]])
        for name, tensor in (("images", images), ("logits", logits))
    ]
    weights = [onnx.numpy_helper.from_array(array, name) for name, array in graph.constants.items()]
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, type(model).__name__, ends[:1], ends[1:], weights),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="gpucnn",
    )
    onnx.helper.set_model_props(proto, dict(meta))
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString()


def difference(content: bytes, model: Module, input_shape: tuple[int, ...]) -> float:
    """How far onnxruntime's logits are from the model's on 1 and on 5 images of noise: beside the largest, or 1.

    DeviceError without the package onnxruntime.
    """
    session = _imported("onnxruntime").InferenceSession(content, providers=["CPUExecutionProvider"])
    rng, worst, model = np.random.default_rng(0), 0.0, model.eval()
    for n in (1, 5):
        x = rng.standard_normal((n, *input_shape), np.float32)
        with no_grad():
            ours = model(Tensor(x, device=_device(model))).numpy()
        (theirs,) = session.run(None, {"images": x})
        worst = max(worst, float(np.abs(ours - theirs).max() / max(1.0, np.abs(ours).max())))
    return worst


class Graph:
    """Nodes in the order of the tape, as (kind, inputs, output, attributes), and the constants that they take."""

    def __init__(self, weights: Mapping[int, str]) -> None:
        self.weights = weights  # id of an array -> the name of the parameter or buffer that it is
        self.nodes: list[tuple[str, list[str], str, dict[str, Any]]] = []
        self.constants: dict[str, Any] = {}
        self._names: dict[int, str] = {}

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Append a node; the name of its output."""
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append((kind, list(inputs), name, attributes))
        return name

    def constant(self, array: Array) -> str:
        """The name of `array` among the constants: that of the parameter or buffer that it is, if it is one."""
        name = self.weights.get(id(array)) or f"constant_{len(self.constants)}"
        self.constants[name] = np.asarray(to_host(array))
        return name

    def add(self, x: Any, name: str) -> None:
        """Say what the result of a Function, or a Tensor that none made, is called."""
        self._names[id(x)] = name

    def name(self, x: Tensor) -> str:
        """What the Tensor `x` is called; a constant, where no Function made it."""
        return self._names.get(id(x.function or x)) or self.constant(x.data)

    def add_function(self, function: Function) -> None:
        """Append what `function` computes."""
        kind = NODES.get(type(function))
        if kind is None:
            known = ", ".join(sorted(each.__name__ for each in NODES))
            raise UsageError(f"{type(function).__name__} has no form in ONNX", f"those that have one are {known}")
        inputs = [self.name(x) for x in function.inputs]
        self.add(function, self.node(kind, *inputs) if isinstance(kind, str) else kind(self, function, *inputs))


def _convolution(graph: Graph, f: Any, *inputs: str) -> str:
    return graph.node("Conv", *inputs, strides=f.stride, pads=f.padding * 2, group=f.groups)


def _fused_convolution(graph: Graph, f: Any, *inputs: str) -> str:
    stride, padding, size = f.window
    y = graph.node("Relu", graph.node("Conv", *inputs, strides=stride, pads=padding * 2))
    return y if size == (1, 1) else graph.node("MaxPool", y, kernel_shape=size, strides=size)


def _linear(graph: Graph, f: Any, x: str, w: str, *b: str) -> str:
    if len(f.x_shape) == 2:
        return graph.node("Gemm", x, w, *b, transB=1)
    y = graph.node("MatMul", x, graph.node("Transpose", w, perm=(1, 0)))
    return graph.node("Add", y, *b) if b else y


def _batch_norm(graph: Graph, f: Any, *inputs: str) -> str:
    mean, var = (graph.constant(array) for array in f.running[:2])
    return graph.node("BatchNormalization", *inputs, mean, var, epsilon=f.eps)


def _local_response_norm(graph: Graph, f: Any, x: str) -> str:
    if f.size % 2 == 0:
        raise UsageError(
            f"LocalResponseNorm over {f.size} channels has no form in ONNX", "an odd size has as many on either side"
        )
    return graph.node("LRN", x, size=f.size, alpha=f.alpha, beta=f.beta, bias=float(f.k))


def _self_attention(graph: Graph, f: Any, qkv: str) -> str:
    _, heads, t, d = f.q.shape
    parts = graph.node("Reshape", qkv, graph.constant(np.array((-1, t, 3, heads, d), np.int64)))
    parts = graph.node("Transpose", parts, perm=(2, 0, 3, 1, 4))
    q, k, v = (graph.node("Gather", parts, graph.constant(np.array(part, np.int64)), axis=0) for part in range(3))
    scores = graph.node("MatMul", q, graph.node("Transpose", k, perm=(0, 1, 3, 2)))
    scores = graph.node("Mul", scores, graph.constant(f.q.dtype.type(f.scale)))
    y = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), v)
    y = graph.node("Transpose", y, perm=(0, 2, 1, 3))
    return graph.node("Reshape", y, graph.constant(np.array((-1, t, heads * d), np.int64)))


def _transpose(graph: Graph, f: Any, x: str) -> str:
    perm = np.arange(f.ndim)
    perm[list(f.dims)] = perm[list(f.dims[::-1])]
    return graph.node("Transpose", x, perm=perm.tolist())


def _pooling(kind: str, **attributes: int) -> Callable[..., str]:
    def node(graph: Graph, f: Any, x: str) -> str:
        size, stride, padding = f.window
        return graph.node(kind, x, kernel_shape=size, strides=stride, pads=padding * 2, **attributes)

    return node


def _gelu(graph: Graph, f: Any, x: str) -> str:
    """ONNX has none before opset 20."""
    half, root = (graph.constant(f.x.dtype.type(value)) for value in (0.5, math.sqrt(0.5)))
    one = graph.constant(f.x.dtype.type(1))
    phi = graph.node("Mul", graph.node("Add", graph.node("Erf", graph.node("Mul", x, root)), one), half)
    return graph.node("Mul", x, phi)


def _reshape(graph: Graph, f: Any, x: str) -> str:
    """The batch is in the first dimension, or multiplied into it: -1 leaves it open."""
    rest = np.empty(f.x_shape, bool).reshape(f.shape).shape[1:]
    return graph.node("Reshape", x, graph.constant(np.array((-1, *rest), np.int64)))


def _sum(graph: Graph, f: Any, x: str) -> str:
    dims = range(len(f.shape)) if f.dim is None else np.atleast_1d(f.dim)
    return graph.node("ReduceSum", x, graph.constant(np.array(dims, np.int64)), keepdims=int(f.keepdim))


def _pad(graph: Graph, f: Any, x: str) -> str:
    before, after = zip(*f.widths, strict=True)
    return graph.node("Pad", x, graph.constant(np.array((*before, *after), np.int64)))


# The kind of ONNX node that computes a Function, or what appends several.
NODES: dict[type[Function], str | Callable[..., str]] = {
    Add: "Add",
    Sub: "Sub",
    Mul: "Mul",
    Div: "Div",
    MatMul: "MatMul",
    Pow: lambda graph, f, x: graph.node("Pow", x, graph.constant(f.x.dtype.type(f.exponent))),
    Sum: _sum,
    Reshape: _reshape,
    Cat: lambda graph, f, *xs: graph.node("Concat", *xs, axis=f.dim),
    Pad: _pad,
    Transpose: _transpose,
    Linear: _linear,
    Conv2d: _convolution,
    Conv2dReluMaxPool: _fused_convolution,
    BatchNorm: _batch_norm,
    LayerNorm: lambda graph, f, *xs: graph.node("LayerNormalization", *xs, axis=-f.ndim, epsilon=f.eps),
    LocalResponseNorm: _local_response_norm,
    SelfAttention: _self_attention,
    MaxPool2d: _pooling("MaxPool"),
    AvgPool2d: _pooling("AveragePool", count_include_pad=1),
    GlobalAvgPool2d: "GlobalAveragePool",
    ReLU: "Relu",
    Sigmoid: "Sigmoid",
    Tanh: "Tanh",
    GELU: _gelu,
    Softmax: lambda graph, f, x: graph.node("Softmax", x, axis=f.dim),
    LogSoftmax: lambda graph, f, x: graph.node("LogSoftmax", x, axis=f.dim),
}


def _device(model: Module) -> Any:
    return next((parameter.device for parameter in model.parameters()), CPU)


def _imported(package: str) -> Any:
    """`package` of the extra onnx."""
    from importlib import import_module

    try:
        return import_module(package)
    except ModuleNotFoundError:
        raise DeviceError(f"{package} is not installed", "pip install 'gpucnn[onnx]'") from None
