"""What every kernel module promises: found by name, one signature, `out=` honoured, sizes checked."""

import ast
import inspect
from pathlib import Path
from types import ModuleType

import gpucnn_kernels as kernels
import numpy as np
import pytest
from gpucnn_kernels.arrays import namespace, out_size

import gpucnn.functional as F
from gpucnn import Device, Tensor
from gpucnn.gradcheck import tie_free

FOLDER = Path(kernels.__file__).parent
PAIRS = [(op, impl) for op, implementations in kernels.ops().items() for impl in implementations]


def public_functions(file):
    """name -> signature of the functions at module level, read without importing: a GPU may be missing.

    Those that it imports from another implementation of the op are its own.
    """
    found, op = {}, file.stem.rpartition("_")[0]
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            found[node.name] = ast.unparse(node.args)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{op}_"):
            other = public_functions(file.with_name(f"{node.module}.py"))
            found |= {alias.name: other[alias.name] for alias in node.names if alias.name in other}
    return found


def differences(reference, other):
    """What keeps `other` from standing in for `reference`; further functions (a fused one) are welcome."""
    return [f"{name}({reference[name]})" for name in reference if other.get(name) != reference[name]]


def test_ops_are_the_files():
    files = {file.stem for file in FOLDER.glob("*_*.py") if file.stem != "__init__"}
    assert files == {f"{op}_{impl}" for op, impl in PAIRS}
    pools = {"maxpool2d", "avgpool2d", "globalavgpool2d"}
    assert {"conv2d", "linear", "relu", "cross_entropy", "dropout", "philox", *pools} <= set(kernels.ops())
    assert all(implementations[0] == "xp" for implementations in kernels.ops().values())
    assert kernels.implementations("conv2d") == kernels.ops()["conv2d"]


@pytest.mark.parametrize("op, impl", PAIRS)
def test_load(op, impl):
    module = kernels.load(op, impl)
    assert isinstance(module, ModuleType)
    assert module.__name__ == f"gpucnn_kernels.{op}_{impl}"
    assert kernels.load(op, impl) is module


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: kernels.implementations("conv3d"), "no kernels for the op 'conv3d'; there are adam, "),
        (lambda: kernels.load("conv3d", "xp"), "no kernels for the op 'conv3d'"),
        (lambda: kernels.load("conv2d", "opencl"), "conv2d has no implementation 'opencl'; it has xp"),
    ],
)
def test_loader_errors(call, text):
    with pytest.raises(ValueError, match=text):
        call()


@pytest.mark.parametrize("op, impl", PAIRS)
def test_every_implementation_has_the_signatures_of_the_reference(op, impl):
    reference, other = (public_functions(FOLDER / f"{op}_{name}.py") for name in ("xp", impl))
    assert reference
    assert differences(reference, other) == []


def test_a_different_signature_is_found():
    reference = {"forward": "x, w", "backward": "gy"}
    assert differences(reference, {"forward": "x, w", "backward": "gy", "fused": ""}) == []
    assert differences(reference, {"forward": "x, w=None"}) == ["forward(x, w)", "backward(gy)"]


def test_the_reader_sees_what_python_sees():
    for op in kernels.ops():
        module = kernels.load(op, "xp")
        functions = inspect.getmembers(module, inspect.isfunction)
        own = {name for name, f in functions if f.__module__ == module.__name__ and not name.startswith("_")}
        assert set(public_functions(FOLDER / f"{op}_xp.py")) == own


# out=

WINDOW = (3, 2), (2, 1), (1, 1)  # size, stride, padding


def calls():
    """(op, function, arguments, shapes of out): every function that takes `out`."""
    rng = np.random.default_rng(0)
    x, w, b = (tie_free(rng, shape) for shape in ((2, 3, 6, 5), (4, 3, 3, 2), (4,)))
    gy, gp = tie_free(rng, (2, 4, 3, 6)), tie_free(rng, (2, 3, 3, 6))
    code = rng.integers(0, 6, gp.shape).astype(np.uint8)
    gz = tie_free(rng, (2, 4, 3, 3))
    fused = gz, rng.choice([0, 1, 255], gz.shape).astype(np.uint8), x, w, *WINDOW[1:], (1, 2)
    logits, target = tie_free(rng, (4, 5)), np.array([3, 0, 4, 3], np.int32)
    pixels, words = rng.integers(0, 256, (3, 2, 5, 6), np.uint8), rng.integers(0, 2**32, (2, 4), np.uint32)
    shift, scale = np.array([120.0, 7.5]), np.array([60.0, 1.5])
    vectors = [np.abs(tie_free(rng, (6,))) for _ in range(4)]
    of_channels = [np.abs(tie_free(rng, (3,))) for _ in range(4)]
    epoch = np.arange(9, dtype=np.int32), words[[0, 1, 0, 1] * 2 + [0]], np.arange(9, dtype=np.int32)[::-1].copy()
    counts = np.array(4, np.int32), np.array(3, np.int32)
    matrix, places = tie_free(rng, (7, 5)), (0.4, 3 + 2**32, 16, 2, np.array([5, 3], np.int32))
    return [
        ("conv2d", "forward", (x, w, b, *WINDOW[1:]), gy.shape),
        ("conv2d", "forward", (x, w, None, *WINDOW[1:]), gy.shape),
        ("conv2d", "backward_input", (gy, w, x.shape, *WINDOW[1:]), x.shape),
        ("conv2d", "backward_weight", (gy, x, w.shape, *WINDOW[1:]), (w.shape, b.shape)),
        ("conv2d_relu_maxpool", "forward", (x, w, b, *WINDOW[1:], (1, 2)), (gz.shape, gz.shape)),
        ("conv2d_relu_maxpool", "backward", fused, (x.shape, w.shape, b.shape)),
        ("maxpool2d", "forward", (x, *WINDOW), (gp.shape, gp.shape)),
        ("maxpool2d", "backward", (gp, code, x.shape, *WINDOW), x.shape),
        ("avgpool2d", "forward", (x, *WINDOW), gp.shape),
        ("avgpool2d", "backward", (gp, x.shape, *WINDOW), x.shape),
        ("globalavgpool2d", "forward", (x,), (2, 3, 1, 1)),
        ("globalavgpool2d", "backward", (x[:, :, :1, :1].copy(), x.shape), x.shape),
        ("batch_norm", "forward", (x, *of_channels, np.array(5), 0.1, 1e-3), (x.shape, *[(3,)] * 4, ())),
        ("batch_norm", "evaluate", (x, *of_channels, 1e-3), (x.shape, (3,))),
        ("batch_norm", "backward", (x[::-1].copy(), x, *of_channels[:3], True), (x.shape, (3,), (3,))),
        ("batch_norm", "backward", (x[::-1].copy(), x, *of_channels[:3], False), (x.shape, (3,), (3,))),
        ("cross_entropy", "forward", (logits, target, 0.1), ((), (2,), logits.shape)),
        ("cross_entropy", "forward", (logits, target, 0.0, shift), ((), (2,), logits.shape)),
        ("dropout", "forward", (x, *places, False), x.shape),
        ("dropout", "forward", (x, *places, True), x.shape),
        ("dropout", "backward", (x, *places, False), x.shape),
        ("linear", "forward", (logits, matrix, matrix[:, 0].copy()), (4, 7)),
        ("linear", "forward", (logits, matrix, None), (4, 7)),
        ("linear", "backward_input", (matrix, logits.T.copy()), (7, 4)),
        ("augment", "forward", (pixels, np.array([2, 0]), words, shift, scale, *[True] * 3), (2, 2, 5, 6)),
        ("augment", "forward", (pixels, np.array([2, 0]), None, shift, scale, *[False] * 3), (2, 2, 5, 6)),
        ("deal", "forward", (*epoch, vectors[0], *counts, 3), ((3,), (3, 4), (3,), (), ())),
        ("clip", "scale", (vectors[0], 0.5), (6,)),
        ("sgd", "step", (*vectors[:3], 0.1, 0.9, 0.01, True), ((6,),) * 2),
        ("adam", "step", (*vectors, 3, 0.1, (0.9, 0.99), 1e-8, 0.01, False), ((6,),) * 3),
        ("linear", "backward_weight", (matrix, tie_free(rng, (7, 3))), ((5, 3), (5,))),
        ("relu", "forward", (x,), x.shape),
        ("relu", "backward", (x, x[::-1].copy()), x.shape),
    ]


def test_every_function_with_out_is_called():
    with_out = {
        (op, name)
        for op in kernels.ops()
        for name, signature in public_functions(FOLDER / f"{op}_xp.py").items()
        if "out:" in signature
    }
    assert with_out == {(op, name) for op, name, *_ in calls()}


@pytest.mark.parametrize("op, name, arguments, shapes", calls())
def test_out_is_filled_and_returned(op, name, arguments, shapes, device):
    """Whatever was in the buffers before; the result without `out` is C-contiguous and the same to the last bit."""
    function = getattr(kernels.load(op, "xp"), name)
    arguments = [device.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments]
    fresh = function(*arguments)
    results = fresh if isinstance(fresh, tuple) else (fresh,)
    assert all(result.flags.c_contiguous for result in results)
    sizes = shapes if isinstance(shapes[0], tuple) else (shapes,)
    assert tuple(result.shape for result in results) == sizes
    buffers = tuple(device.xp.full_like(result, 77) for result in results)
    filled = function(*arguments, out=buffers if isinstance(fresh, tuple) else buffers[0])
    for buffer, back, result in zip(buffers, filled if isinstance(filled, tuple) else (filled,), results, strict=True):
        assert back is buffer
        assert (buffer == result).all()


# what reaches a kernel


def _normalised(x, training):
    return F.batch_norm(x, *(Tensor(np.ones(4), device=x.device) for _ in range(4)), training)


@pytest.mark.parametrize(
    "op, f, x_shape, w_shape",
    [
        ("conv2d", F.conv2d, (2, 4, 5, 6), (4, 4, 2, 2)),
        ("conv2d", lambda x, w: F.conv2d(x, w, groups=2), (2, 4, 5, 6), (4, 2, 2, 2)),
        ("conv2d", lambda x, w: F.conv2d(x, w, padding="same"), (2, 4, 5, 6), (4, 4, 2, 2)),
        ("maxpool2d", lambda x, w: F.max_pool2d(x, 2), (2, 4, 5, 6), ()),
        ("avgpool2d", lambda x, w: F.avg_pool2d(x, 2), (2, 4, 5, 6), ()),
        ("globalavgpool2d", lambda x, w: F.adaptive_avg_pool2d(x), (2, 4, 5, 6), ()),
        ("dropout", lambda x, w: F.dropout(x, 0.4), (2, 4, 5, 6), ()),
        ("dropout", lambda x, w: F.dropout2d(x, 0.4), (2, 4, 5, 6), ()),
        ("linear", F.linear, (2, 4, 5, 6), (3, 6)),
        ("cross_entropy", lambda x, w: F.cross_entropy(x, [1, 4]).reshape(1, 1), (2, 5), ()),
        ("relu", lambda x, w: F.relu(x), (2, 4, 5, 6), ()),
        ("batch_norm", lambda x, w: _normalised(x, True) + _normalised(x, False), (2, 4, 5, 6), ()),
    ],
)
@pytest.mark.parametrize("spread", [True, False], ids=["one number spread", "rows cut"])
def test_a_kernel_gets_contiguous_arrays_only(op, f, x_shape, w_shape, spread, monkeypatch):
    """Kernels in CUDA C ignore strides, so an op hands over whole rows, whatever the tape hands to it.

    The fused convolution does not: its kernels look at the strides, which is how they hand each other their layouts.
    """
    module = kernels.load(op, "xp")
    seen = {}

    def watched(name, function):
        def call(*arguments):
            seen[name] = [a.flags.c_contiguous for a in arguments if isinstance(a, np.ndarray)]
            return function(*arguments)

        return call

    names = public_functions(FOLDER / f"{op}_xp.py")
    for name in names:
        monkeypatch.setattr(module, name, watched(name, getattr(module, name)))
    sim = Device("sim", kernels="xp")
    x, w = (Tensor(np.ones(shape), True, sim) for shape in (x_shape, w_shape))
    x.data = np.asfortranarray(x.data)
    y = f(x, w)
    (y.sum() if spread else (F.cat([y, y], 1) ** 2).sum()).backward()
    assert seen.keys() == names.keys()
    assert all(all(flags) for flags in seen.values()), seen


# sizes


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (((5, 7), (3, 2), (1, 1), (0, 0)), (3, 6)),
        (((5, 7), (5, 7), (3, 3), (0, 0)), (1, 1)),
        (((6, 6), (3, 3), (2, 4), (0, 0)), (2, 1)),
        (((1, 1), (3, 5), (1, 1), (1, 2)), (1, 1)),
        (((32, 32), (3, 3), (2, 2), (1, 0)), (16, 15)),
    ],
)
def test_out_size(arguments, expected):
    assert out_size(*arguments) == expected
    (h, w), (kh, kw), (sh, sw), (ph, pw) = arguments  # by counting the places where the window fits
    assert len(range(-ph, h + ph - kh + 1, sh)) == expected[0]
    assert len(range(-pw, w + pw - kw + 1, sw)) == expected[1]


@pytest.mark.parametrize(
    "arguments, text",
    [
        (((4, 6), (5, 5), (1, 1), (0, 0)), "kernel 5x5 is larger than its input 4x6 with padding 0,0"),
        (((6, 4), (5, 7), (1, 1), (0, 1)), "kernel 5x7 is larger than its input 6x4 with padding 0,1"),
        (((4, 4), (0, 3), (1, 1), (0, 0)), r"kernel size must be at least 1, got \(0, 3\)"),
        (((4, 4), (3, 3), (1, 0), (0, 0)), r"stride must be at least 1, got \(1, 0\)"),
        (((4, 4), (3, 3), (1, 1), (-1, 0)), r"padding must be at least 0, got \(-1, 0\)"),
    ],
)
def test_out_size_errors(arguments, text):
    with pytest.raises(ValueError, match=text):
        out_size(*arguments)


def test_namespace():
    assert namespace(np.ones(1)) is np
