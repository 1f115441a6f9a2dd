"""Your own kernels in the place of ours: a CUDA C file with kernels named after the functions of an op.

    // launch: grid=(ceil_div(oh * ow, 64), co, n) block=(64)
    extern "C" __global__ void conv2d_forward(const float* x, const float* w, const float* b, float* y,
                                              int n, int ci, int h, int w_, ...)

A parameter is bound by its name: arrays are called as in the op's contract (x, w, b, y, gy, gx, gw, gb, code; b is
a null pointer without a bias), and of the sizes n, ci, co, c, h, w_, kh, kw, sh, sw, ph, pw, oh, ow a kernel takes
those it needs, in any order. The comment above a kernel says how it is launched, in integer arithmetic over these
names; without one there is a thread for each element of its first result, in blocks of 256. What a file leaves out
runs on the op's `raw` kernels.
"""

import ast
import inspect
import operator
import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from . import load
from .arrays import namespace, out_size
from .launch import COMMENT, CudaC, ceil_div
from .sim import mode

# The results of each function that a file may replace, and their shapes in the names of the sizes.
RESULTS: dict[str, dict[str, dict[str, tuple[str, ...]]]] = {
    "conv2d": {
        "forward": {"y": ("n", "co", "oh", "ow")},
        "backward_input": {"gx": ("n", "ci", "h", "w_")},
        "backward_weight": {"gw": ("co", "ci", "kh", "kw"), "gb": ("co",)},
    },
    "maxpool2d": {
        "forward": {"y": ("n", "c", "oh", "ow"), "code": ("n", "c", "oh", "ow")},
        "backward": {"gx": ("n", "c", "h", "w_")},
    },
    "avgpool2d": {
        "forward": {"y": ("n", "c", "oh", "ow")},
        "backward": {"gx": ("n", "c", "h", "w_")},
    },
}

ARRAYS = ("x", "w", "b", "gy", "code")
SIZES = ("n", "ci", "co", "c", "h", "w_", "kh", "kw", "sh", "sw", "ph", "pw", "oh", "ow")

_DTYPES = {"int": np.int32, "unsigned char*": np.uint8, "float*": np.float32}
_FIELDS = {"grid": "", "block": "256", "shared": "0"}
_LAUNCH = re.compile(r"//\s*launch:(.*)")
_LIKE_ONE = re.compile(r".*\b(launch|grid|block|shared)\b\s*[=:].*", re.IGNORECASE)
_FIELD = re.compile(rf"({'|'.join(_FIELDS)})\s*=")
_OPERATORS: dict[type, Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.floordiv,  # as in C
    ast.FloorDiv: operator.floordiv,
}
_FUNCTIONS: dict[str, Callable[..., int]] = {"ceil_div": ceil_div, "min": min, "max": max}


class OwnKernels:
    """The functions of `op` with the kernels of the file `path`; stands in for a module of kernels.

    ValueError where the file cannot be read, names no kernel of the op, or asks for what nothing provides.
    """

    def __init__(self, op: str, path: Path) -> None:
        if op not in RESULTS:
            raise ValueError(f"{op} takes no kernels of your own; {', '.join(RESULTS)} do")
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: {getattr(error, 'strerror', None) or 'not a text in UTF-8'}") from None
        self._op, self._kernels, self._reference = op, CudaC(op, path), load(op, "raw")
        self._tried: set[tuple] = set()
        self.functions = tuple(f for f in RESULTS[op] if f"{op}_{f}" in self._kernels.signatures)
        if not self.functions:
            names = " or ".join(f"{op}_{f}" for f in RESULTS[op])
            raise ValueError(f'{path}: no kernel `extern "C" __global__ void` {names}')
        self._launches = {function: _launch_comment(text, f"{op}_{function}") for function in self.functions}
        for function in self.functions:
            self._check(function)

    def __getattr__(self, name: str) -> Any:
        """A function of the op: the file's where it has it, otherwise that of `raw`."""
        reference = getattr(self._reference, name)
        if name not in self.functions:
            return reference

        def call(*arguments: Any, out: Any = None, workspace: Any = None) -> Any:
            return self._call(name, inspect.signature(reference).bind(*arguments).arguments, out)

        return call

    def _call(self, function: str, arguments: dict[str, Any], out: Any) -> Any:
        names = sizes(arguments)
        results = RESULTS[self._op][function]
        if out is None:
            xp = namespace(next(value for value in arguments.values() if hasattr(value, "dtype")))
            shapes = {name: tuple(names[size] for size in shape) for name, shape in results.items()}
            out = tuple(xp.empty(s, xp.uint8 if name == "code" else xp.float32) for name, s in shapes.items())
        arrays = dict(zip(results, out if isinstance(out, tuple) else (out,), strict=True))
        grid, block, shared = self._geometry(function, {**names, "elements": prod(next(iter(arrays.values())).shape)})
        kernel = f"{self._op}_{function}"
        given = {**names, **arguments, **arrays}
        parameters = [given[parameter.name] for parameter in self._kernels.signatures[kernel]]
        # On the simulator a new shape runs checked: a wild write is a fault with a line, not the end of Python.
        tried = function, tuple(names.values())
        with mode(check=True) if tried not in self._tried else nullcontext():
            self._kernels.launch(kernel, grid, block, parameters, shared_mem=shared[0])
        self._tried.add(tried)
        return tuple(arrays.values()) if len(arrays) > 1 else arrays[next(iter(arrays))]

    def _geometry(self, function: str, names: Mapping[str, int]) -> tuple[tuple, tuple, tuple]:
        fields = self._launches[function]
        block = evaluate(fields["block"], names)
        grid = fields["grid"] or f"ceil_div(elements, {prod(block)})"
        return evaluate(grid, names), block, evaluate(fields["shared"], names)

    def _check(self, function: str) -> None:
        """What can be said before a kernel runs: its parameters have names that are bound, its geometry has a value."""
        kernel = f"{self._op}_{function}"
        arrays = [name for name in inspect.signature(getattr(self._reference, function)).parameters if name in ARRAYS]
        known = (*arrays, *RESULTS[self._op][function], *SIZES)
        for parameter in self._kernels.signatures[kernel]:
            if parameter.name not in known:
                raise ValueError(f"{kernel} takes {parameter.name}, but what there is are {', '.join(known)}")
            expected = "int" if parameter.name in SIZES else "unsigned char*" if parameter.name == "code" else "float*"
            if parameter.pointer != expected.endswith("*") or parameter.dtype != _DTYPES[expected]:
                raise ValueError(f"{kernel}: {parameter.name} is of type {expected}")
        self._geometry(function, dict.fromkeys((*SIZES, "elements"), 1))


def sizes(arguments: Mapping[str, Any]) -> dict[str, int]:
    """The sizes by their names, from the arguments of a function of an op with windows."""
    shape = {name: value.shape for name, value in arguments.items() if hasattr(value, "shape")}
    n, c, h, w_ = arguments.get("x_shape") or shape["x"]
    weights = arguments.get("w_shape") or shape.get("w") or (c, c, *arguments["size"])  # pooling keeps the channels
    kernel = weights[2], weights[3]
    stride, padding = arguments["stride"], arguments["padding"]
    out = out_size((h, w_), kernel, stride, padding)
    return dict(zip(SIZES, (n, c, weights[0], c, h, w_, *kernel, *stride, *padding, *out), strict=True))


def evaluate(text: str, names: Mapping[str, int]) -> tuple[int, ...]:
    """`"(ceil_div(oh * ow, 64), co)"` -> a tuple of integers. ValueError for anything but arithmetic."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        values = tree.elts if isinstance(tree, ast.Tuple) else [tree]
        return tuple(_value(value, names) for value in values)
    except (SyntaxError, ZeroDivisionError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(f"launch: {text.strip()[:60]!r}: {error.args[0] if error.args else 'too long'}") from None


def _value(node: ast.expr, names: Mapping[str, int]) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left, names), _value(node.right, names))
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in _FUNCTIONS
        and not node.keywords
    ):
        return _FUNCTIONS[node.func.id](*(_value(argument, names) for argument in node.args))
    raise ValueError(
        f"launch: {ast.unparse(node)!r} is none of integers, {', '.join(names)}, + - * / {', '.join(_FUNCTIONS)}"
    )


def _launch_comment(text: str, kernel: str) -> dict[str, str]:
    """The fields of the launch comment in front of `kernel`, or what stands for them."""
    code = COMMENT.sub(lambda comment: re.sub(r"[^\n]", " ", comment[0]), text)  # as long as the text
    place = re.search(rf"__global__[^;{{}}]*\b{kernel}\s*\(", code)
    end = place.start() if place else 0
    before = text[code.rfind("\n}", 0, end) + 1 : end]
    comments = _LAUNCH.findall(before)
    if strange := [line for line in before.splitlines() if _LIKE_ONE.match(line) and not _LAUNCH.search(line)]:
        raise ValueError(f"launch: {strange[0].strip()!r} is not `// launch: grid=(...) block=(...)`, in one line")
    if not comments:
        return _FIELDS
    parts = _FIELD.split(comments[-1])
    if parts[0].strip() or len(parts) == 1:
        raise ValueError(f"launch: {comments[-1].strip()!r} has other fields than {', '.join(_FIELDS)}")
    return _FIELDS | dict(zip(parts[1::2], parts[2::2], strict=True))
