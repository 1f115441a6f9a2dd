"""How far two results of the same sum may lie apart."""

import numpy as np

from gpucnn.backend import to_host


def assert_close(actual, expected, terms, size, dtype, what=""):
    """`actual` has `dtype` and `expected`'s shape, and differs by no more than rounding allows.

    A sum of `terms` numbers of at most `size` is off by at most eps * terms * (terms * size); errors of either
    sign cancel, which leaves one factor of terms. 8 more are for the few operations around the sum. NaN and
    infinity must stand in the same places.
    """
    actual, expected = np.asarray(to_host(actual)), np.asarray(expected)
    assert actual.dtype == dtype, f"{what}: {actual.dtype} instead of {np.dtype(dtype)}"
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape} instead of {expected.shape}"
    tolerance = 2 * np.finfo(dtype).eps * (terms + 8) * size
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance, err_msg=what)
