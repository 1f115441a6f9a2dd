"""What a launch on the simulator may be given: arguments, a grid and a block, as a GPU's driver would take them."""

import numpy as np
import pytest
from gpucnn_kernels.sim import KernelFault, RawModule
from sim_kernels import each_check, fault_of, kernel, run

PARAMETERS = "const float* x, float* y, const unsigned char* code, int n, float p, unsigned seed"
GOOD = {
    "x": np.zeros(4, np.float32), "y": np.zeros(4, np.float32), "code": np.zeros(4, np.uint8), "n": np.int32(1),
    "p": np.float32(1), "seed": np.uint32(1),
}  # fmt: skip
READ_ONLY = np.zeros(4, np.float32)
READ_ONLY.flags.writeable = False


@each_check
@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("p", 0.5, "Python float"),
        ("n", 1, "Python int"),
        ("n", np.int64(1), "numpy.int64 is not numpy.int32"),
        ("p", np.float64(1), "numpy.float64 is not numpy.float32"),
        ("seed", np.int32(1), "numpy.int32 is not numpy.uint32"),
        ("n", None, "NoneType"),
        ("x", np.zeros(4), "float64"),
        ("code", np.zeros(4, np.int32), "int32"),
        ("x", np.zeros((4, 4), np.float32).T[1:], "C-contiguous"),
        ("x", np.zeros(8, np.float32)[::2], "C-contiguous"),
        ("y", READ_ONLY, "read-only"),
        ("x", [1.0], "list"),
        ("x", np.zeros(4, ">f4"), "bytes are in the other order"),
        ("x", np.frombuffer(bytes(17), np.uint8)[1:].view(np.float32), "multiple of 4"),
    ],
)
def test_arguments_that_a_driver_would_misread(name, value, says, check):
    args = tuple((GOOD | {name: value}).values())
    fault = fault_of(kernel("", PARAMETERS), "k", args, check=check)
    assert fault.kind == "bad-argument"
    assert says in str(fault)
    assert f": argument {name} (" in str(fault)


def test_arguments_that_are_right():
    run(kernel("", PARAMETERS), "k", tuple(GOOD.values()))
    run(kernel("", PARAMETERS), "k", tuple((GOOD | {"x": None, "y": None, "code": None}).values()))
    run(kernel("", PARAMETERS), "k", tuple((GOOD | {"x": READ_ONLY}).values()))
    assert "5 arguments for the 6 parameters" in str(fault_of(kernel("", PARAMETERS), "k", tuple(GOOD.values())[:5]))


@pytest.mark.parametrize(
    "dimensions",
    [
        {"block": 1025}, {"block": (32, 33)}, {"block": (1, 1, 65)}, {"block": 0}, {"grid": 0}, {"grid": (1, 0)},
        {"grid": (1, 65536)}, {"grid": (1, 1, 65536)}, {"grid": (1, 1, 1, 1)}, {"block": ()},
        {"shared_mem": 48 * 1024 + 1}, {"shared_mem": -1}, {"shared_mem": None}, {"grid": (1.0,)}, {"block": (None,)},
    ],
    ids=str,
)  # fmt: skip
def test_launches_that_no_gpu_accepts(dimensions):
    fault = fault_of(kernel(""), "k", (np.zeros(1, np.float32),), **({"block": 1} | dimensions))
    assert fault.kind == "bad-argument"


@each_check
@pytest.mark.parametrize("wrong", [(1, (1,)), ((1,), None), ("11", (1,)), ((1,), np.ones(1, int))], ids=str)
def test_dimensions_are_tuples(wrong, check):
    function = RawModule(code=kernel(""), check=check).get_function("k")
    with pytest.raises(KernelFault, match=r"bad-argument: (grid|block) .* is no tuple of 1 to 3 ints"):
        function(*wrong, (np.zeros(1, np.float32),))
    with pytest.raises(KernelFault, match="the arguments are a tuple, got a ndarray"):
        function((1,), (1,), np.zeros(1, np.float32))


def test_parameters_that_only_a_gpu_takes():
    text = kernel("", "const float** rows, float* const* columns, float4 v")
    array = np.zeros(4, np.float32)
    assert "rows (const float**): a pointer to pointers" in str(fault_of(text, "k", (array, None, array)))
    fault = fault_of(text, "k", (None, array, array))
    assert "columns (float* const*): a pointer to pointers" in str(fault)
    assert "v (float4): a vector is not passed by value" in str(fault_of(text, "k", (None, None, array)))
