"""Devices: how they are named, which kernels they choose, and what is said where no GPU can be used."""

import sys
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import gpucnn.backend
from gpucnn import CPU, Device, DeviceError, UsageError
from gpucnn.backend import parse_device, probe_cuda, probe_kernels, to_host

INVENTORY = {"avgpool2d": ("xp",), "conv2d": ("xp", "cpu", "exact", "raw"), "maxpool2d": ("xp", "numba", "raw")}


@pytest.fixture
def inventory(monkeypatch):
    """Kernels that may not be written yet, by name only."""
    monkeypatch.setattr(gpucnn.backend.gpucnn_kernels, "ops", lambda: INVENTORY)


def fake_cupy(answer=42, fault=None, capability="80"):
    """As much of CuPy as the probe uses: a kernel that writes `answer`, or a driver that raises."""

    class FakeDevice(nullcontext):
        def __init__(self, index):
            if fault:
                raise fault
            super().__init__()
            self.index = index

        compute_capability = capability

        def use(self):
            cupy.current = self.index

    def kernel(source, name):
        def launch(grid, block, arguments):
            arguments[0][0] = answer

        return launch

    cupy = ModuleType("cupy")
    vars(cupy).update(cuda=SimpleNamespace(Device=FakeDevice), RawKernel=kernel, zeros=np.zeros, int32=np.int32)
    cupy.arange = np.arange
    return cupy


@pytest.fixture
def cupy(monkeypatch):
    """Put a module in CuPy's place; None: it is not installed."""
    return lambda module: monkeypatch.setitem(sys.modules, "cupy", module)


# values


def test_a_device_is_a_value():
    assert Device() == CPU == Device("cpu")
    assert Device("cuda", 1) == Device("cuda", 1) != Device("cuda")
    assert len({Device(), Device("cpu"), Device("cuda")}) == 2
    assert (str(CPU), str(Device("cuda")), str(Device("cuda", 1))) == ("cpu", "cuda:0", "cuda:1")
    with pytest.raises(AttributeError):
        CPU.type = "cuda"


def test_an_unknown_type():
    with pytest.raises(UsageError, match="unknown device 'tpu'"):
        Device("tpu")


def test_the_cpu_computes_with_numpy():
    assert CPU.xp is np
    assert CPU.special.erf(0.0) == 0
    CPU.synchronize()
    assert CPU.kernel("conv2d").__name__.startswith("gpucnn_kernels.conv2d_")
    assert CPU.kernel("conv2d") is CPU.kernel("conv2d")


@pytest.mark.parametrize("values", [3.0, np.float32(3), np.array(3), [], [[1, 2]], np.ones((2, 3)).T])
@pytest.mark.parametrize("dtype", [None, np.float32, np.int64])
def test_asarray_keeps_shape_and_dtype(values, dtype, device):
    array = device.asarray(values, dtype)
    assert array.shape == np.shape(values)
    assert array.dtype == (dtype or np.asarray(values).dtype)
    assert array.flags.c_contiguous or device.type == "cpu"
    np.testing.assert_array_equal(to_host(array), values)
    assert isinstance(to_host(array), np.ndarray)


@pytest.mark.parametrize("device", [CPU, Device("sim", kernels="xp")], ids=str)
def test_arrays_keep_their_layout_until_kernels_of_a_gpu_ask(device):
    x = np.ones((3, 4, 5)).transpose(2, 0, 1)
    assert device.asarray(x) is x
    assert device.asarray(x, np.float32).strides == tuple(stride // 2 for stride in x.strides)
    assert (device.contiguous(x) is x) if device == CPU else device.contiguous(x).flags.c_contiguous


def test_asarray_and_to_host_copy_nothing_on_the_cpu():
    x = np.ones(3)
    assert CPU.asarray(x) is x
    assert to_host(x) is x


# kernels


@pytest.mark.parametrize(
    "type, kernels, avgpool2d, conv2d, maxpool2d",
    [
        ("cpu", None, "xp", "cpu", "xp"),
        ("cpu", "cpu", "xp", "cpu", "xp"),
        ("cpu", "xp", "xp", "xp", "xp"),
        ("cpu", "conv2d=xp", "xp", "xp", "xp"),
        ("cpu", "conv2d=cpu, maxpool2d=xp", "xp", "cpu", "xp"),
        ("cpu", "cpu,conv2d=xp", "xp", "xp", "xp"),
        ("cpu", "exact", "xp", "exact", "xp"),
        ("cpu", "conv2d=exact", "xp", "exact", "xp"),
        ("cuda", None, "xp", "raw", "raw"),
        ("cuda", "numba", "xp", "xp", "numba"),
        ("cuda", "conv2d=raw", "xp", "raw", "xp"),
        ("cuda", "raw,maxpool2d=numba", "xp", "raw", "numba"),
    ],
)
def test_choice_of_kernels(type, kernels, avgpool2d, conv2d, maxpool2d, inventory):
    chosen = {"avgpool2d": avgpool2d, "conv2d": conv2d, "maxpool2d": maxpool2d}
    assert Device(type, kernels=kernels).implementation == chosen


@pytest.mark.parametrize(
    "type, kernels, text, hint",
    [
        ("cpu", "conv2d=numba", "conv2d has no kernels 'numba'", "it has xp, cpu, exact, raw"),
        ("cpu", "conv2d=", "conv2d has no kernels ''", "it has xp, cpu, exact, raw"),
        ("cpu", "conv3d=xp", "no op named conv3d", "the ops with kernels are avgpool2d, conv2d, maxpool2d"),
        ("cpu", "raw", "cpu has no kernels 'raw'", "the kinds for it are xp, cpu, exact"),
        ("cpu", "conv2d=raw", "cpu has no kernels 'raw'", "the kinds for it are xp, cpu, exact"),
        ("cpu", "fast", "cpu has no kernels 'fast'", "the kinds for it are xp, cpu, exact"),
        ("cuda", "cpu", "cuda has no kernels 'cpu'", "the kinds for it are xp, numba, raw"),
    ],
)
def test_impossible_kernels(type, kernels, text, hint, inventory):
    with pytest.raises(UsageError, match=text) as error:
        Device(type, kernels=kernels)
    assert error.value.hint == hint
    assert error.value.exit_code == 2


def test_exact_takes_the_kernels_of_the_cpu_where_it_has_none_of_its_own(inventory, monkeypatch):
    monkeypatch.setitem(INVENTORY, "maxpool2d", ("xp", "cpu"))
    chosen = {"avgpool2d": "xp", "conv2d": "exact", "maxpool2d": "cpu"}
    assert Device("cpu", kernels="exact").implementation == chosen


def test_the_kernels_of_the_cpu_take_float32_only(inventory, monkeypatch):
    monkeypatch.setattr(gpucnn.backend.gpucnn_kernels, "load", lambda op, impl: f"{op}_{impl}")
    for kind in ("cpu", "exact"):
        device = Device("cpu", kernels=kind)
        assert device.kernel("conv2d") == device.kernel("conv2d", np.dtype("float32")) == f"conv2d_{kind}"
        assert device.kernel("conv2d", np.dtype("float64")) == "conv2d_xp"
    assert Device("sim", kernels="raw").kernel("conv2d", np.dtype("float64")) == "conv2d_raw"  # which says no


def test_the_real_inventory_can_be_chosen_by_name():
    for op in gpucnn.backend.gpucnn_kernels.ops():
        assert Device("cpu", kernels=f"{op}=xp").implementation[op] == "xp"
    assert set(Device("cpu", kernels="xp").implementation.values()) == {"xp"}


@pytest.mark.parametrize("kernels", ["raw,numba", "conv2d=raw,conv2d=numba", "mine.cu", "raw,mine.cu"])
def test_kernels_that_say_two_things_or_no_op(kernels):
    with pytest.raises(UsageError, match="--kernels"):
        Device("sim", kernels=kernels)


def test_spaces_around_names_of_kernels():
    assert Device("sim", kernels=" conv2d = numba , raw ").implementation["conv2d"] == "numba"


# from the command line


def test_cpu_by_name(cupy):
    cupy(fake_cupy(fault=RuntimeError("must not be asked")))
    assert parse_device("cpu") == (CPU, "as asked")
    assert parse_device("cpu", "conv2d=xp") == (Device("cpu", kernels="conv2d=xp"), "as asked")
    assert parse_device("cpu", fuse=False) == (Device("cpu", fuse=False), "as asked")
    assert parse_device("auto", "xp", fuse=False)[0] == Device("cpu", kernels="xp", fuse=False)


def test_a_gpu_that_works(cupy):
    module = fake_cupy()
    cupy(module)
    assert probe_cuda() is None
    assert parse_device("cuda", "xp") == (Device("cuda", kernels="xp"), "as asked")
    assert parse_device("cuda:1", "xp") == (Device("cuda", 1, "xp"), "as asked")
    assert module.current == 1
    assert parse_device("auto", "xp") == (Device("cuda", kernels="xp"), "auto: a GPU that runs kernels")


@pytest.mark.parametrize(
    "kernels, kinds", [("raw", ["raw"]), ("conv2d=raw,maxpool2d=numba", ["numba", "raw"]), ("xp", [])]
)
def test_the_kernels_that_were_chosen_are_tried_at_once(kernels, kinds, monkeypatch):
    asked = []
    monkeypatch.setattr(gpucnn.backend, "probe_kernels", lambda device, kind: asked.append(kind))
    assert parse_device("sim", kernels) == (Device("sim", kernels=kernels), "as asked")
    assert asked == kinds


def test_kernels_that_do_not_run(monkeypatch):
    def forward(*arguments):
        raise ImportError("no compiler\nmore")

    assert probe_kernels(Device("sim"), "raw") is None
    monkeypatch.setattr("gpucnn_kernels.avgpool2d_raw.forward", forward)
    with pytest.raises(DeviceError, match=r"raw kernels do not run on sim: no compiler$") as error:
        parse_device("sim")
    assert error.value.hint == "gpucnn doctor"
    monkeypatch.setattr("gpucnn_kernels.avgpool2d_raw.forward", lambda *arguments: np.ones((1, 1, 2, 2)))
    with pytest.raises(DeviceError, match="raw kernels do not run on sim: they compute wrong results"):
        parse_device("sim")


NO_GPU = [  # what stands in CuPy's place, what is said, the hint
    (None, "CuPy is not installed", "make setup EXTRAS=cuda12"),
    (
        fake_cupy(fault=RuntimeError("cudaErrorNoDevice: none detected\nmore")),
        "no usable NVIDIA GPU (cudaErrorNoDevice: none detected)",
        "check nvidia-smi",
    ),
    (fake_cupy(fault=OSError()), "no usable NVIDIA GPU (OSError)", "check nvidia-smi"),
    (fake_cupy(answer=41), "the GPU computes wrong results", "gpucnn doctor"),
]


@pytest.mark.parametrize("module, text, hint", NO_GPU)
def test_cuda_by_name_without_a_gpu(module, text, hint, cupy):
    cupy(module)
    with pytest.raises(DeviceError) as error:
        parse_device("cuda:1")
    assert str(error.value) == f"--device cuda:1: {text}"
    assert error.value.hint.startswith(hint)
    assert error.value.exit_code == 3


@pytest.mark.parametrize("module, text, hint", NO_GPU)
def test_auto_without_a_gpu(module, text, hint, cupy):
    cupy(module)
    assert parse_device("auto", "xp") == (Device("cpu", kernels="xp"), f"auto: {text}")


@pytest.mark.parametrize(
    "fault, text",
    [
        (RuntimeError("broken build\nmore"), "no usable NVIDIA GPU (broken build)"),
        (ImportError("libcuda.so.1: no such file"), "no usable NVIDIA GPU (libcuda.so.1: no such file)"),
    ],
)
def test_a_cupy_that_cannot_be_imported(fault, text, monkeypatch):
    def broken(name):
        raise fault

    monkeypatch.setattr(gpucnn.backend, "import_module", broken)
    assert str(probe_cuda()) == text


@pytest.mark.parametrize("text", ["gpu", "", "cuda:x", "cuda:-1", "cuda:1.5", "cpu:0", "auto:1", "CPU"])
def test_unknown_device_names(text):
    with pytest.raises(UsageError, match=f"unknown device {text!r}") as error:
        parse_device(text)
    assert error.value.hint == "the devices are auto, cpu, sim, cuda, cuda:1, cuda:2, ..."


@pytest.mark.parametrize("precision, kind", [("fp32", "raw"), ("tf32", "tf32"), ("bf16", "bf16")])
def test_a_precision_is_a_kind_of_kernels(precision, kind, monkeypatch):
    monkeypatch.setattr(gpucnn.backend, "probe_kernels", lambda device, kind: None)
    assert parse_device("sim", precision=precision)[0] == Device("sim", kernels=kind)
    words = parse_device("sim", precision=precision)[0].kernels_in_words()
    assert words.endswith({"fp32": "products in fp32 by FFMA"}.get(precision, f"products in {precision}"))
    assert Device("sim", kernels="tf32x3").kernels_in_words().endswith("products in fp32 by 3xTF32")


ANSWER = np.array([2.5, 4.5, 10.5, 12.5], np.float32)


@pytest.mark.parametrize("capability, words", [("61", "6.1"), ("75", "7.5")])
@pytest.mark.parametrize("chosen", [{"precision": "tf32"}, {"precision": "bf16"}, {"kernels": "conv2d=tf32x3"}])
def test_a_gpu_without_such_tensor_cores(capability, words, chosen, cupy, monkeypatch):
    cupy(fake_cupy(capability=capability))
    monkeypatch.setattr("gpucnn_kernels.avgpool2d_raw.forward", lambda *arguments: ANSWER)
    kind = chosen.get("precision", "tf32x3")
    with pytest.raises(DeviceError) as error:
        parse_device("cuda", **chosen)
    text = f"the GPU has compute capability {words}, its tensor cores need 8.0 or later for {kind}"
    assert str(error.value) == f"{kind} kernels do not run on cuda:0: {text}"
    assert error.value.hint == "--precision fp32"
    assert error.value.exit_code == 3
    assert parse_device("cuda", precision="fp32")[0] == Device("cuda", kernels="raw")


@pytest.mark.parametrize("capability", ["80", "90", "100"])
def test_a_gpu_with_tensor_cores(capability, cupy, monkeypatch):
    cupy(fake_cupy(capability=capability))
    monkeypatch.setattr("gpucnn_kernels.avgpool2d_raw.forward", lambda *arguments: ANSWER)
    assert parse_device("cuda", precision="bf16")[0] == Device("cuda", kernels="bf16")


def test_a_precision_on_the_cpu(cupy):
    cupy(fake_cupy(fault=RuntimeError("no GPU")))
    for device in ("cpu", "auto"):
        assert parse_device(device, precision="fp32")[0] == CPU
    with pytest.raises(UsageError, match="the CPU computes in fp32"):
        parse_device("cpu", precision="bf16")
    with pytest.raises(DeviceError, match="--precision tf32 needs a GPU"):
        parse_device("auto", precision="tf32")
    with pytest.raises(UsageError, match="both say"):
        parse_device("sim", "raw", precision="fp32")
