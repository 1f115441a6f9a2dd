"""What a fault says, that it can be handed from process to process, and that a lack of memory is one."""

import subprocess
import sys

import numpy as np
from sim_kernels import fault_of, kernel

STARVED = f"""
import resource, numpy, gpucnn_kernels.sim as sim
text, y = {kernel("y[t] = t;")!r}, numpy.zeros(64, numpy.float32)
def launch(check, n):
    function = sim.RawModule(code=text, check=check).get_function("k")
    try:
        function((1,), (n,), (y,))
    except sim.KernelFault as fault:
        print(fault.kind, end=" ")
    print(int(y.sum()), end=" ")
launch(False, 8)
resource.setrlimit(resource.RLIMIT_AS, (4 * 10**9, -1))
launch(True, 32), launch(False, 32)
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
launch(True, 64)
"""


def test_a_check_without_memory_is_a_fault():
    done = subprocess.run([sys.executable, "-c", STARVED], capture_output=True, text=True, check=False)
    assert done.stdout == "28 out-of-memory 28 496 2016 ", done.stderr


def test_grids_that_cannot_be_listed():
    args = (np.zeros(1, np.float32),)
    fault = fault_of(kernel(""), "k", args, 1, (2**28 + 1,), False, "random")
    assert (fault.kind, "random order" in str(fault)) == ("bad-argument", True)
    assert fault_of(kernel(""), "k", args, 1, (2**31 - 1, 65535), True).kind == "out-of-memory"
