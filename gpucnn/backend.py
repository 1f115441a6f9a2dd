"""Where arrays live and which kernels run: the only file that knows NumPy from CuPy."""

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import gpucnn_kernels
from gpucnn_kernels.arrays import out_size as out_size  # these two for those who may not look at kernels themselves
from gpucnn_kernels.cachefolder import writable as writable

from .errors import DeviceError, UsageError
from .profiling import named

Array = Any  # cupy.ndarray on CUDA, numpy.ndarray elsewhere

_TENSOR_CORES = ("tf32", "tf32x3", "bf16")
_ON_GPU = ("xp", "numba", "raw", *_TENSOR_CORES)
KINDS = {"cpu": ("xp", "cpu", "exact"), "cuda": _ON_GPU, "sim": _ON_GPU}
_DEFAULT = {"cpu": "cpu", "cuda": "raw", "sim": "raw"}
# What runs an op that the first kind has no kernels of, before xp does.
_INSTEAD = {"exact": "cpu", **dict.fromkeys(_TENSOR_CORES, "raw")}
_PARTS = {"conv2d_relu_maxpool": ("conv2d", "relu", "maxpool2d")}  # what an op does in one
_DEVICES = "cpu, sim, cuda, cuda:1, cuda:2, ..."

PRECISIONS = {"fp32": "raw", "tf32": "tf32", "bf16": "bf16"}  # name -> the kind of kernels that multiplies so
_PRODUCTS = {"raw": "fp32 by FFMA", "numba": "fp32 by FFMA", "tf32x3": "fp32 by 3xTF32", "tf32": "tf32", "bf16": "bf16"}


@dataclass(frozen=True)
class Device:
    """`Device("cpu")`, `Device("cuda", 1, kernels="raw")`: a value that tensors carry.

    `sim` runs the kernels of cuda on the CPU, over NumPy arrays. `kernels` names the implementation to use for
    every op that has it (the reference `xp` elsewhere), or single ops, by an implementation or the path of a
    CUDA C file: `"conv2d=raw,maxpool2d=my_pool.cu"`. None takes the fastest kind of the device. `exact` is the kind
    `cpu` without Winograd's convolution; `tf32`, `tf32x3` and `bf16` are `raw` with products on tensor cores.
    `fuse` lets layers run as one where there is a kernel for them together,
    `graph` repeats recorded kernels instead of the Python that chose them (graph.py).
    """

    type: str = "cpu"
    index: int = 0
    kernels: str | None = None
    fuse: bool = True
    graph: bool = True

    def __post_init__(self) -> None:
        if self.type not in KINDS:
            raise UsageError(f"unknown device {self.type!r}", f"the devices are {_DEVICES}")
        for op, impl in self.implementation.items():  # a wrong name is an error here, not in the middle of a step
            if impl.endswith(".cu"):
                self.kernel(op)

    def __str__(self) -> str:
        return f"cuda:{self.index}" if self.type == "cuda" else self.type

    @cached_property
    def xp(self) -> ModuleType:
        """The array module: numpy or cupy."""
        return import_module("cupy" if self.type == "cuda" else "numpy")

    @cached_property
    def special(self) -> ModuleType:
        """The special functions (erf, ...): scipy.special or its CuPy twin."""
        return import_module("cupyx.scipy.special" if self.type == "cuda" else "scipy.special")

    @cached_property
    def implementation(self) -> dict[str, str]:
        """op -> implementation, e.g. `{"conv2d": "raw", ...}`."""
        everywhere, single = _parse_kernels(self.kernels or _DEFAULT[self.type])
        chosen = {}
        for op, implementations in gpucnn_kernels.ops().items():
            wanted = single.pop(op, None)
            if wanted is not None and wanted not in implementations and not wanted.endswith(".cu"):
                raise UsageError(f"{op} has no kernels {wanted!r}", f"it has {', '.join(implementations)}")
            candidates = everywhere, _INSTEAD.get(everywhere, "xp"), "xp"
            chosen[op] = wanted or next(kind for kind in candidates if kind in implementations)
        if single:
            known = ", ".join(gpucnn_kernels.ops())
            raise UsageError(f"no op named {', '.join(single)}", f"the ops with kernels are {known}")
        existing = {impl for impls in gpucnn_kernels.ops().values() for impl in impls}
        usable = [impl for impl in KINDS[self.type] if impl in existing]
        if everywhere.endswith(".cu"):
            raise UsageError(f"--kernels {everywhere}: which op are these kernels of?", f"conv2d={everywhere}, say")
        for impl in (*chosen.values(), *([everywhere] if self.kernels else [])):
            if impl not in usable and not (impl.endswith(".cu") and "raw" in usable):
                raise UsageError(f"{self.type} has no kernels {impl!r}", f"the kinds for it are {', '.join(usable)}")
        return chosen

    def fuses(self, op: str) -> bool:
        """Whether layers may run as the one op `op`: it has kernels of its own here, or was asked for by name."""
        return op in self._fused

    @cached_property
    def _fused(self) -> set[str]:
        """Not where kernels were named for a part of it, which would then not run."""
        named = _parse_kernels(self.kernels)[1] if self.kernels else {}
        own = (op for op, impl in self.implementation.items() if impl != "xp")
        alone = (op for op in own if named.keys().isdisjoint(_PARTS.get(op, ())))
        return {*alone, *named} if self.fuse else set()

    @cached_property
    def _modules(self) -> dict[tuple[str, str], Any]:
        return {}

    def kernel(self, op: str, dtype: Any = None) -> Any:
        """The kernel module that runs `op` on arrays of `dtype` here, e.g. `gpucnn_kernels.conv2d_xp`.

        The kernels of the CPU compute in float32: for another dtype, the reference runs in their place.
        """
        impl = self.implementation[op]
        if dtype is not None and dtype.char != "f" and self.type == "cpu":
            impl = "xp"
        if (op, impl) not in self._modules:
            module = own_kernels(op, impl) if impl.endswith(".cu") else gpucnn_kernels.load(op, impl)
            self._modules[op, impl] = module
        return named(self._modules[op, impl], f"{op}_{impl}")

    def kernels_in_words(self) -> str:
        """What `implementation` says, in short: `"raw, xp for philox; products in fp32 by FFMA"`."""
        ops: dict[str, list[str]] = {}
        for op, impl in self.implementation.items():
            ops.setdefault(impl, []).append(op)
        most, *others = sorted(ops, key=lambda impl: -len(ops[impl]))
        words = ", ".join([most, *(f"{impl} for {' '.join(ops[impl])}" for impl in others)])
        products = _PRODUCTS.get(self.implementation["conv2d"])
        return f"{words}; products in {products}" if products else words

    def asarray(self, values: Any, dtype: Any = None) -> Array:
        """`values` as an array on this device, in the layout that they have: see `contiguous`."""
        if self.type == "cuda":
            with self.xp.cuda.Device(self.index):
                return self.xp.asarray(values, dtype, order="K")
        return self.xp.asarray(to_host(values), dtype, order="K")

    def contiguous(self, x: Array) -> Array:
        """x as the kernels take it: C-contiguous on a GPU; on the CPU itself, in whatever layout its strides say."""
        if self.type == "cpu":
            return x
        from gpucnn_kernels.channelslast import contiguous

        return contiguous(x)

    def synchronize(self) -> None:
        """Wait until everything queued on the device is done."""
        if self.type == "cuda":
            self.xp.cuda.Device(self.index).synchronize()


def own_kernels(op: str, file: str) -> Any:
    """The kernels of a `.cu` file, as a module of kernels for `op`; UsageError where they cannot be used."""
    from gpucnn_kernels.own import OwnKernels

    try:
        return OwnKernels(op, Path(file).expanduser())
    except ValueError as error:
        raise UsageError(f"{op}: {error}", "examples/my_conv.cu is one that works") from None


def compiles_for_cpu(device: Device) -> bool:
    """Whether some of the kernels are compiled for the CPU: see cpu.py."""
    return not {"cpu", "exact"}.isdisjoint(device.implementation.values())


def recorder(device: Device) -> Any:
    """What records a run on this device, to repeat it: Recording or Capture; None where nothing does, or should."""
    if not device.graph or (device.type == "cpu" and not compiles_for_cpu(device)):
        return None
    if device.type == "cuda":
        from gpucnn_kernels.capture import Capture

        return Capture
    from gpucnn_kernels.recording import Recording

    return Recording


def to_host(array: Array) -> Any:
    """A NumPy array of the same values; a copy only where the array lives on a GPU."""
    return array if on_host(array) else array.get()


def on_host(array: Array) -> bool:
    """Whether the array is NumPy's: its values can be looked at without waiting for a device."""
    return not hasattr(array, "get")


def parse_device(
    text: str, kernels: str | None = None, fuse: bool = True, graph: bool = True, precision: str | None = None
) -> tuple[Device, str]:
    """`auto`, `cpu`, `sim`, `cuda` or `cuda:1` -> (device, why it was chosen).

    precision: a key of PRECISIONS, another way to name a kind of kernels of a GPU.

    DeviceError where what was asked for by name cannot run its kernels; `auto` takes the CPU where there is no GPU.
    """
    name, _, index = text.partition(":")
    if name not in ("auto", *KINDS) or (index and (name != "cuda" or not index.isdecimal())):
        raise UsageError(f"unknown device {text!r}", f"the devices are auto, {_DEVICES}")
    if precision is not None:
        if kernels is not None:
            raise UsageError("--precision and --kernels both say which kernels run", "give one of them")
        if name == "cpu" and precision != "fp32":
            raise UsageError(f"--precision {precision}: the CPU computes in fp32", "--device cuda, or --device sim")
        kernels = PRECISIONS[precision] if name != "cpu" else None
    if name in ("cpu", "sim"):
        return _able(Device(name, kernels=kernels, fuse=fuse, graph=graph)), "as asked"
    fault = probe_cuda(int(index or 0))
    if name == "cuda":
        if fault:
            raise DeviceError(f"--device {text}: {fault.args[0]}", fault.hint)
    elif fault and precision not in (None, "fp32"):
        raise DeviceError(f"--precision {precision} needs a GPU: {fault.args[0]}", "--device sim")
    elif fault:
        kernels = None if precision else kernels
        return Device("cpu", kernels=kernels, fuse=fuse, graph=graph), f"auto: {fault.args[0]}"
    device = Device("cuda", int(index or 0), kernels, fuse, graph)
    device.xp.cuda.Device(device.index).use()  # CuPy's own ops allocate on its current device
    return _able(device), "as asked" if name == "cuda" else "auto: a GPU that runs kernels"


def _able(device: Device) -> Device:
    """`device`, if every kind of kernels that it is to use runs there: a DeviceError now, not in the first step."""
    kinds = {"raw" if impl.endswith(".cu") else impl for impl in device.implementation.values()}
    for kind in sorted(kinds - {*KINDS["cpu"]}):
        if fault := probe_kernels(device, kind):
            raise DeviceError(f"{kind} kernels do not run on {device}: {fault}", fault.hint or "gpucnn doctor")
    return device


def probe_kernels(device: Device, kind: str) -> DeviceError | None:
    """None where kernels of `kind` compile, launch and compute a known answer on `device`; else what is missing."""
    where = Device(device.type, device.index, kind)
    try:
        if device.type == "cuda" and kind in _TENSOR_CORES:
            capability = int(where.xp.cuda.Device(device.index).compute_capability)  # 75 is 7.5
            if capability < 80:
                has = f"the GPU has compute capability {capability / 10}, its tensor cores need 8.0 or later for {kind}"
                return DeviceError(has, "--precision fp32")
        x = where.xp.arange(16, dtype="float32").reshape(1, 1, 4, 4)
        y = to_host(where.kernel("avgpool2d").forward(x, (2, 2), (2, 2), (0, 0)))
    except Exception as error:  # whatever is missing shows as an error of its own kind
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return DeviceError(reason, getattr(error, "hint", ""))
    if y.ravel().tolist() != [2.5, 4.5, 10.5, 12.5]:
        return DeviceError("they compute wrong results", "report this, with the output of gpucnn doctor --json")
    return None


def probe_cuda(index: int = 0) -> DeviceError | None:
    """None where GPU `index` can compile, launch and read back a kernel; otherwise what is missing."""
    try:
        cupy = import_module("cupy")
        with cupy.cuda.Device(index):  # which succeeds on machines where no kernel can run
            kernel = cupy.RawKernel('extern "C" __global__ void probe(int* x) { *x = 42; }', "probe")
            answer = cupy.zeros(1, cupy.int32)
            kernel((1,), (1,), (answer,))
            if int(answer[0]) == 42:
                return None
        return DeviceError("the GPU computes wrong results", "gpucnn doctor")
    except ModuleNotFoundError:
        return DeviceError("CuPy is not installed", "make setup EXTRAS=cuda12  (or cuda13, as your driver)")
    except Exception as error:  # CuPy raises many kinds here, all of them mean "no kernel can run"
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return DeviceError(f"no usable NVIDIA GPU ({reason})", "check nvidia-smi, or use --device cpu")


def _parse_kernels(text: str) -> tuple[str, dict[str, str]]:
    """`"raw"` -> ("raw", {}); `"conv2d=raw,maxpool2d=xp"` -> ("xp", {"conv2d": "raw", "maxpool2d": "xp"})."""
    everywhere: list[str] = []
    single: dict[str, str] = {}
    for part in text.split(","):
        op, equals, impl = map(str.strip, part.partition("="))
        if op in single or (everywhere and not equals):
            raise UsageError(f"--kernels {text}: {op} comes second", "name one kind, and each op once")
        if equals:
            single[op] = impl
        else:
            everywhere.append(op)
    return (everywhere or ["xp"])[0], single


CPU = Device()
