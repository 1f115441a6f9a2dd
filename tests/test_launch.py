"""Typed launches: what a kernel's signature promises is what it gets, or an error says why not."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from gpucnn_kernels import launch, recording
from gpucnn_kernels.launch import (
    Bytes,
    Float,
    Floats,
    Int,
    Parameter,
    Unsigned,
    ceil_div,
    numba_kernel,
    signatures,
    typed,
)

TEXT = """
// extern "C" __global__ void commented_out(int x) {}
template <int TILE> __device__ void part(float* x) {}
extern "C" __global__ void __launch_bounds__(256) pool(const float* __restrict__ x, float4 *y,
    unsigned char* code,  /* extern "C" __global__ void neither(int x) */
    int n, unsigned seed, float p) { part<4>(x); }
extern "C" __global__ void sum(const long long* x, unsigned int n) {}
"""


def test_a_signature_is_read_from_the_source():
    f4, u1, i4 = np.dtype("f4"), np.dtype("u1"), np.dtype("i4")
    assert signatures(TEXT) == {
        "pool": (
            Parameter("x", f4, True, True, 4),
            Parameter("y", f4, True, False, 16),
            Parameter("code", u1, True, False, 1),
            Parameter("n", i4, False, False, 4),
            Parameter("seed", np.dtype("u4"), False, False, 4),
            Parameter("p", f4, False, False, 4),
        ),
        "sum": (Parameter("x", np.dtype("i8"), True, True, 8), Parameter("n", np.dtype("u4"), False, False, 4)),
    }


def test_the_ways_to_write_a_pointer():
    for text in (
        "const float* x",
        "float const* x",
        "const float x[]",
        "const float* __restrict__ const x",
        "const float *x",
    ):
        [[parameter]] = signatures(f'extern "C" __global__ void __launch_bounds__((8 * 8)) f({text}) {{}}').values()
        assert parameter == Parameter("x", np.dtype("f4"), True, True, 4), text


@pytest.mark.parametrize("parameter", ["half* x", "float** x", "float", "struct S s", "float x[3]"])
def test_a_type_that_no_array_has(parameter):
    with pytest.raises(ValueError, match=r"f: the parameter .* has none of the types float"):
        signatures(f'extern "C" __global__ void f({parameter}) {{}}')


def test_the_annotations_of_a_numba_kernel_are_its_signature():
    @numba_kernel
    def pool(x: Floats, code: Bytes, n: Int, seed: Unsigned, p: Float): ...

    assert pool.signature == "void(float32[::1], uint8[::1], int32, uint32, float32)"
    assert [(p.name, str(p.dtype), p.pointer) for p in pool.parameters] == [
        ("x", "float32", True),
        ("code", "uint8", True),
        ("n", "int32", False),
        ("seed", "uint32", False),
        ("p", "float32", False),
    ]


def arguments(**changed):
    x = np.zeros((4, 4), np.float32)
    given = {"x": x, "y": x.copy(), "code": np.zeros(3, np.uint8), "n": 3, "seed": 2**32 - 1, "p": 0.1}
    return list((given | changed).values())


def test_numbers_are_cast_to_the_type_of_the_parameter():
    """A Python float passed on as it is would be a double, and a float parameter its lower half."""
    cast, _ = typed("pool", signatures(TEXT)["pool"], arguments(n=True, p=1))
    assert [type(value) for value in cast[3:]] == [np.int32, np.uint32, np.float32]
    assert cast[3:] == [1, 2**32 - 1, 1.0]
    cast, _ = typed("pool", signatures(TEXT)["pool"], arguments(n=np.int64(7), p=np.float64(0.1), y=None))
    assert cast[3] == 7 and cast[5] == np.float32(0.1) and cast[1] is None


@pytest.mark.parametrize(
    "changed, kind, text",
    [
        ({"x": np.zeros((4, 4))}, TypeError, "pool: x is an array of float32, got float64"),
        ({"x": np.zeros((4, 3), np.float32).T}, ValueError, "pool: x is not C-contiguous"),
        ({"x": np.zeros((4, 8), np.float32)[:, ::2]}, ValueError, "pool: x is not C-contiguous"),
        ({"x": [1.0]}, TypeError, "pool: x is an array of float32, got list"),
        ({"x": 1.0}, TypeError, "pool: x is an array of float32, got float"),
        ({"x": np.float32(1)}, TypeError, "pool: x is an array of float32, got float32"),
        ({"code": np.broadcast_to(np.uint8(0), 1)}, ValueError, "pool: code is read-only"),
        ({"n": 1.0}, TypeError, "pool: n is an int32 number, got float"),
        ({"n": 2**31}, ValueError, "pool: n = 2147483648 does not fit int32"),
        ({"seed": -1}, ValueError, "pool: seed = -1 does not fit uint32"),
        ({"n": None}, TypeError, "pool: n is an int32 number, got NoneType"),
        ({"n": np.zeros(1, np.int32)}, TypeError, "pool: n is an int32 number, got ndarray"),
        ({"p": "0.1"}, TypeError, "pool: p is a float32 number, got str"),
        ({"p": np.zeros((), np.float32)}, TypeError, "pool: p is a float32 number, got ndarray"),
        ({"x": None, "y": None, "code": None}, TypeError, "pool got no array"),
    ],
)
def test_a_wrong_argument_is_named(changed, kind, text):
    with pytest.raises(kind, match=text):
        typed("pool", signatures(TEXT)["pool"], arguments(**changed))


def test_the_wrong_number_of_arguments():
    with pytest.raises(TypeError, match="pool takes 6 arguments, got 5"):
        typed("pool", signatures(TEXT)["pool"], arguments()[:-1])


def test_a_pointer_to_float4_is_aligned():
    buffer = np.zeros(12, np.float32)
    start = next(i for i in range(4) if (buffer.ctypes.data + 4 * i) % 16 == 0)
    typed("pool", signatures(TEXT)["pool"], arguments(y=buffer[start : start + 8]))
    with pytest.raises(ValueError, match="pool: y is not aligned to 16 bytes"):
        typed("pool", signatures(TEXT)["pool"], arguments(y=buffer[start + 1 : start + 9]))


def test_a_read_only_array_may_be_read():
    x = np.zeros(4, np.float32)
    x.flags.writeable = False
    typed("pool", signatures(TEXT)["pool"], arguments(x=x))


def test_ceil_div_and_total():
    assert [ceil_div(n, 4) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]
    assert launch.total((3, 0, 5)) == 0
    assert launch.total((2, 2**30 - 1)) == 2**31 - 2
    with pytest.raises(NotImplementedError, match="at most 2147483647 elements"):
        launch.total((2, 2**30))


# on a GPU: a pretended CuPy writes down what reaches it


class Array(np.ndarray):
    """A NumPy array that looks like CuPy's."""

    __module__ = "pretended_cupy"

    def get(self):
        return np.asarray(self)

    @property
    def data(self):
        return SimpleNamespace(ptr=np.ndarray.ctypes.__get__(self).data)

    @property
    def device(self):
        return Gpu(getattr(self, "gpu", 0))


class Gpu:
    current = 0

    def __init__(self, index):
        self.id = index

    def __enter__(self):
        self.before, Gpu.current = Gpu.current, self.id
        return self

    def __exit__(self, *error):
        Gpu.current = self.before


@pytest.fixture
def cupy(monkeypatch):
    module = ModuleType("pretended_cupy")
    module.launches = []

    class RawModule:
        def __init__(self, code, options):
            self.code, self.options = code, options

        def get_function(self, name):
            class Function:
                max_dynamic_shared_size_bytes = 0

                def __call__(self, grid, block, args, shared_mem):
                    module.launches.append((name, grid, block, args, shared_mem, Gpu.current, self))

            return Function()

    module.RawModule = RawModule
    monkeypatch.setitem(sys.modules, "pretended_cupy", module)
    launch._compiled.cache_clear()
    return module


def on_gpu(values, index=0):
    array = np.asarray(values).view(Array)
    array.gpu = index
    return array


def kernels_of(text):
    kernels = launch.CudaC("none")
    kernels.__dict__["text"] = text
    return kernels


def test_a_launch_reaches_cupy_typed_and_on_the_gpu_of_its_arrays(cupy):
    x, code = on_gpu(np.zeros((4, 4), np.float32), 1), on_gpu(np.zeros(3, np.uint8), 1)
    kernels_of(TEXT).launch("pool", (2, 1), (32,), (x, None, code, 3, 4, 0.5), shared_mem=50_000, defines=("-DA=1",))
    [(name, grid, block, args, shared, gpu, function)] = cupy.launches
    assert (name, grid, block, shared, gpu) == ("pool", (2, 1), (32,), 50_000, 1)
    assert args[0] is x and args[1] is None and type(args[5]) is np.float32
    assert function.max_dynamic_shared_size_bytes == 50_000
    assert Gpu.current == 0


def test_who_watches_may_make_the_launch(cupy):
    """As measure/timers.py does, to put an event before and behind it."""
    x, seen = on_gpu(np.zeros(3, np.int64)), []

    def watch(kernel, arguments):
        seen.append((kernel.__name__, len(cupy.launches)))
        kernel(*arguments)
        seen.append(("done", len(cupy.launches)))
        return True

    with recording.watched(watch):
        kernels_of(TEXT).launch("sum", (1,), (32,), (x, 3))
    assert seen == [("sum", 0), ("done", 1)] and len(cupy.launches) == 1


def test_arrays_of_two_devices(cupy):
    x, code = on_gpu(np.zeros(4, np.float32), 1), on_gpu(np.zeros(3, np.uint8), 0)
    with pytest.raises(ValueError, match="pool: x and code are on different devices"):
        kernels_of(TEXT).launch("pool", (1,), (1,), (x, None, code, 3, 4, 0.5))
    with pytest.raises(ValueError, match="pool: x and code are on different devices"):
        kernels_of(TEXT).launch("pool", (1,), (1,), (x, None, np.zeros(3, np.uint8), 3, 4, 0.5))


def test_an_empty_grid_is_not_launched(cupy):
    kernels_of(TEXT).launch("sum", (0,), (32,), (on_gpu(np.zeros(0, np.int64)), 0))
    assert cupy.launches == []
