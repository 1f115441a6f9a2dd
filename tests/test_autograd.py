"""The tape: what it adds up, what it refuses, and what it lets go of."""

import gc
import weakref

import numpy as np
import pytest
from cases import every_case

import gpucnn as g
import gpucnn.functional as F
from gpucnn import Device, Function, Tensor, no_grad
from gpucnn.gradcheck import gradients, tie_free


def leaf(*values):
    return Tensor(np.array(values, np.float64), requires_grad=True)


class Double(Function):
    """2 * x; counts how often its backward runs."""

    runs = 0

    def forward(self, x):
        self.x = x
        return 2 * x

    def backward(self, gy):
        Double.runs += 1
        return 2 * gy


def test_two_paths_add_up():
    x = leaf(1.0, -3.0)
    y = x * x  # used three times below
    (y * x + y + y).sum().backward()  # x**3 + 2 x**2
    np.testing.assert_array_equal(x.grad, 3 * x.data**2 + 4 * x.data)


def test_a_function_runs_backward_once_after_all_its_users():
    """y is used at once and, much later, at the end of a long chain."""
    x = leaf(1.5)
    y = z = Double.apply(x)
    for _ in range(20):
        z = z + y
    Double.runs = 0
    (z * y).backward()  # (21 * 2x) * 2x = 84 x**2
    assert Double.runs == 1
    assert x.grad == 168 * 1.5


def test_one_tensor_as_both_operands():
    x = leaf(3.0)
    (x * x - x / x + (x + x)).backward()
    np.testing.assert_allclose(x.grad, 2 * 3.0 + 2, rtol=1e-15)


def test_a_leaf_collects_over_backward_calls():
    x = leaf(2.0)
    (3 * x).backward()
    first = x.grad
    (x * x).backward()
    assert x.grad == 3 + 4
    assert first == 3, "the earlier array was changed in place"


def test_leaves_that_share_a_gradient_stay_apart():
    a, b = leaf(1.0), leaf(2.0)
    (a + b).backward()
    (5 * a).backward()
    assert (a.grad, b.grad) == (6, 1)


def test_backward_of_a_leaf():
    x = leaf(4.0)
    x.backward()
    assert x.grad == 1


def test_only_leaves_get_a_grad_and_only_where_asked():
    x, constant = leaf(1.0), Tensor([2.0])
    y = x * constant
    (y * 3).backward()
    assert x.grad == 6
    assert y.grad is None
    assert constant.grad is None


def test_no_grad_records_nothing_and_ends():
    x = leaf(1.0)
    with no_grad():
        y = x * 2
        with no_grad():
            pass
        assert (x * 2).function is None
    assert y.function is None
    assert not y.requires_grad
    with pytest.raises(ZeroDivisionError), no_grad():
        _ = 1 / 0
    assert (x * 2).requires_grad


def test_a_tensor_without_gradient_records_nothing():
    assert (Tensor([1.0]) * 2).function is None


def test_detach_cuts_the_tape_and_shares_the_array():
    x = leaf(3.0)
    y = (x * x).detach()
    assert not y.requires_grad
    (y * x).backward()
    assert x.grad == 9
    assert x.detach().data is x.data


def test_the_gradient_argument():
    x = leaf(1.0, 2.0)
    (x * x).backward([1.0, 10.0])
    np.testing.assert_array_equal(x.grad, [2, 40])
    x.grad = None
    (x * x).backward(Tensor([1.0, 10.0]))  # float32: taken over as x's float64
    np.testing.assert_array_equal(x.grad, [2, 40])
    assert x.grad.dtype == np.float64


@pytest.mark.parametrize(
    "run, error, text",
    [
        (lambda x: x.detach().backward(), RuntimeError, "does not require a gradient"),
        (lambda x: (x * 2).backward(), RuntimeError, r"shape \(2,\) needs the gradient argument"),
        (lambda x: (x * 2).backward([1.0]), ValueError, r"gradient has shape \(1,\), the tensor \(2,\)"),
        (lambda x: (x * 2).backward(np.ones((1, 2))), ValueError, r"gradient has shape \(1, 2\), the tensor \(2,\)"),
        (lambda x: Tensor(np.arange(3), requires_grad=True), TypeError, "floating-point .* this one is int64"),
        (Tensor, TypeError, "use .detach"),
        (lambda x: x @ x, ValueError, "matmul takes two matrices"),
        (lambda x: F.cat([]), ValueError, "cat takes at least one"),
    ],
)
def test_errors(run, error, text):
    with pytest.raises(error, match=text):
        run(leaf(1.0, 2.0))


def test_backward_twice_is_an_error_and_changes_nothing():
    x, w = leaf(1.0), leaf(2.0)
    y = x * x
    z = y * w
    y.backward()
    for again in (y, z):  # all of it is freed, or a part of it
        with pytest.raises(RuntimeError, match="a second time"):
            again.backward()
    assert x.grad == 2
    assert w.grad is None


def test_tensors_on_different_devices():
    x, y = leaf(1.0), leaf(1.0)
    y.device = Device("cuda")
    with pytest.raises(ValueError, match=r"Add: one tensor is on Device\(type='cpu'.*, another on Device\(type='cuda'"):
        x + y
    y.device = Device("cpu")  # equal, if not the same object
    assert (x + y).item() == 2


def test_backward_frees_the_tape_and_its_arrays():
    x = leaf(1.0)
    y = x * x
    loss = y.sum()
    functions = [weakref.ref(y.function), weakref.ref(loss.function)]
    gc.disable()  # reference counts must do: a cycle would keep a whole step's arrays until the collector runs
    try:
        array = weakref.ref(y.data)
        loss.backward()
        assert vars(y.function) == {"inputs": None}
        del y, loss
        assert [f() for f in functions] == [None, None]
        assert array() is None
    finally:
        gc.enable()


def test_a_tape_that_is_dropped_without_backward_is_freed():
    gc.disable()
    try:
        y = leaf(1.0) * 2
        function = weakref.ref(y.function)
        del y
        assert function() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("backward", [True, False])
def test_deep_graphs(backward):
    x = y = leaf(1.0)
    for _ in range(5000):
        y = y + 1.0
    if backward:
        y.backward()
        assert x.grad == 1
    del y  # 5,000 nodes let go of one another


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", **every_case)
def test_the_dtype_stays(case, dtype):
    """No Python number, mean or square root turns float32 into float64, or the other way round."""
    rng = np.random.default_rng(0)
    arrays = [tie_free(rng, shape, dtype) for shape in case.shapes]
    weights = tie_free(rng, case.function(*map(Tensor, arrays)).shape, dtype)
    y, found = gradients(case.function, arrays, weights)
    assert y.dtype == dtype
    assert [gx.dtype for gx in found] == [dtype] * len(arrays)


@pytest.mark.parametrize("case", **every_case)
def test_no_op_changes_its_inputs(case):
    rng = np.random.default_rng(0)
    arrays = [tie_free(rng, shape) for shape in case.shapes]
    weights = tie_free(rng, case.function(*map(Tensor, arrays)).shape)
    before = [x.copy() for x in (*arrays, weights)]
    gradients(case.function, arrays, weights)
    for x, kept in zip((*arrays, weights), before, strict=True):
        np.testing.assert_array_equal(x, kept)


def test_what_a_tensor_is_made_of():
    assert Tensor([1, 2]).dtype == Tensor(3).dtype == Tensor([True]).dtype == np.float32
    assert Tensor(np.arange(3)).dtype == np.int64
    assert Tensor(np.float64(1)).dtype == np.float64
    assert Tensor(1.5).shape == ()
    assert Tensor(1.5).item() == 1.5
    assert len(Tensor([[1], [2]])) == 2
    assert repr(Tensor([1.0], requires_grad=True)) == (
        "Tensor(array([1.], dtype=float32), device='cpu', requires_grad=True)"
    )
    moved = leaf(1.0).to(g.CPU)
    assert (moved.requires_grad, moved.dtype) == (False, np.float64)


def test_integers_follow_numpy():
    """A Python number beside an integer tensor keeps its fraction."""
    x = Tensor(np.arange(4))
    np.testing.assert_array_equal((x * 0.5).data, [0, 0.5, 1, 1.5])
    assert x.mean().item() == 1.5
    assert (x + 1).dtype == np.int64


@pytest.mark.parametrize("other", [np.float64(2), np.array([2.0]), 2, [2.0]])
def test_a_number_or_array_on_either_side(other):
    x = Tensor(np.ones(1, np.float32), requires_grad=True)
    for y in (x + other, other + x, x - other, other - x, x * other, other * x, x / other, other / x):
        assert isinstance(y, Tensor)
        assert y.dtype == np.float32
        assert y.requires_grad
    assert (other - x).item() == 1


def test_an_array_for_a_tensor_is_named():
    with pytest.raises(TypeError, match=r"ReLU takes Tensors, got ndarray: wrap it"):
        F.relu(np.ones(3))


def test_a_backward_of_the_wrong_shape_is_named():
    class Wrong(Function):
        def forward(self, x):
            return x * 2

        def backward(self, gy):
            return gy.sum()

    with pytest.raises(RuntimeError, match=r"Wrong\.backward gave \(\) for an input of \(2,\)"):
        Wrong.apply(Tensor([1.0, 2.0], requires_grad=True)).sum().backward()
