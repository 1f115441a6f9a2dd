"""Short kernels for the tests of the simulator."""

import numpy as np
import pytest
from gpucnn_kernels.sim import KernelFault, RawModule

ORDERS = ("forward", "reverse", "random")
each_order = pytest.mark.parametrize("order", ORDERS)
each_check = pytest.mark.parametrize("check", [False, True], ids=["unchecked", "checked"])


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def run(text, name, args, block=32, grid=1, check=True, order="forward", seed=0, options=(), shared_mem=0):
    module = RawModule(code=text, options=options, check=check, order=order, seed=seed)
    block, grid = (size if isinstance(size, tuple) else (size,) for size in (block, grid))
    module.get_function(name)(grid, block, args, shared_mem=shared_mem)


def kernel(body, parameters="float* y"):
    """A kernel `k` in which t is the thread's index in the grid."""
    return f'extern "C" __global__ void k({parameters}) {{ int t = blockIdx.x * blockDim.x + threadIdx.x; {body} }}'


def fault_of(*args, **named):
    with pytest.raises(KernelFault) as caught:
        run(*args, **named)
    return caught.value
