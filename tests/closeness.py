"""How far two results of the same sum may lie apart."""

import numpy as np
from gpucnn_kernels.cases import tolerance

from gpucnn.backend import to_host


def assert_close(actual, expected, terms, size, dtype, what=""):
    """`actual` has `dtype` and `expected`'s shape, and differs by no more than rounding a sum of `terms` numbers of at
    most `size` allows. NaN and infinity must stand in the same places.
    """
    actual, expected = np.asarray(to_host(actual)), np.asarray(expected)
    assert actual.dtype == dtype, f"{what}: {actual.dtype} instead of {np.dtype(dtype)}"
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape} instead of {expected.shape}"
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance(terms, size, dtype), err_msg=what)
