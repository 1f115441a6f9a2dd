"""The functions of ../launchcost.py for the CPU: called from Python, and started on all threads."""

from numba import prange

from .compiled import compiled

_ARRAYS = f"void({', '.join(['f4[::1]'] * 9)})"
_NUMBERS = f"void(f4[::1], {', '.join(['i8'] * 8)})"
_PARTS = 64  # so that every thread is started


@compiled("void(f4[::1])")
def launch_one(y):
    y[0] = 1


@compiled(_ARRAYS)
def launch_arrays(y, a, b, c, d, e, f, g, h):
    y[0] = a[0] + b[0] + c[0] + d[0] + e[0] + f[0] + g[0] + h[0]


@compiled(_NUMBERS)
def launch_numbers(y, a, b, c, d, e, f, g, h):
    y[0] = a + b + c + d + e + f + g + h


@compiled("void(f4[::1])", parallel=True)
def launch_one_on_threads(y):
    for i in prange(_PARTS):
        if i == 0:
            y[0] = 1


@compiled(_ARRAYS, parallel=True)
def launch_arrays_on_threads(y, a, b, c, d, e, f, g, h):
    for i in prange(_PARTS):
        if i == 0:
            y[0] = a[0] + b[0] + c[0] + d[0] + e[0] + f[0] + g[0] + h[0]


@compiled(_NUMBERS, parallel=True)
def launch_numbers_on_threads(y, a, b, c, d, e, f, g, h):
    for i in prange(_PARTS):
        if i == 0:
            y[0] = a + b + c + d + e + f + g + h
