"""Every op and operator against float64 numeric differences."""

import inspect
import operator

import numpy as np
import pytest
from cases import CASES, every_case

import gpucnn as g
import gpucnn.functional as F
from gpucnn.gradcheck import gradcheck, tie_free


@pytest.mark.parametrize("case", **every_case)
def test_gradient(case, device):
    rng = np.random.default_rng(1)
    gradcheck(case.function, *(tie_free(rng, shape) for shape in case.shapes), device=device)


def test_every_function_has_a_case():
    functions = {name for name in F.__all__ if inspect.isfunction(getattr(F, name))}
    assert functions <= {case.op for case in CASES}


def test_every_operator_has_a_case():
    symbols = {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "matmul": "@", "pow": "**", "neg": "-x"}
    defined = {name.strip("_") for name in vars(g.Tensor)} & set(operator.__all__)
    assert {symbols[name] for name in defined} <= {case.op for case in CASES}


class Wrong(g.Function):
    """tanh with a slightly wrong gradient."""

    def __init__(self, factor=1.0, dims=0):
        self.factor, self.dims = factor, dims

    def forward(self, x):
        self.y = np.tanh(x)
        return self.y

    def backward(self, gy):
        return (gy * (1 - self.factor * self.y * self.y)).reshape((1,) * self.dims + gy.shape)


def test_the_check_itself_can_fail():
    x = tie_free(np.random.default_rng(0), (5, 7))
    gradcheck(Wrong.apply, x)
    with pytest.raises(AssertionError, match="differences say"):
        gradcheck(lambda x: Wrong.apply(x, factor=1.00001), x)
    with pytest.raises(RuntimeError, match="backward gave"):
        gradcheck(lambda x: Wrong.apply(x, dims=1), x)
