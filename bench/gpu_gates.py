"""Is everything right on this GPU? Every pass of every layer and of odd shapes against float64, and training steps.

An error is |error| / |value|, in 2-norms; what PyTorch's is at the same setting stands beside it. A kind passes where
its errors are below the gate of its mode and, in fp32-ieee, at most twice PyTorch's or a few roundings of float32;
where two runs give the same bits, with and without a graph; and where its losses are PyTorch's.
"""

from itertools import product
from typing import Any

import gpu_ops
import gpucnn_kernels
import numpy as np
from cpu_shapes import Op
from cpu_subjects import Skipped, need_torch
from gpu_job import Job
from gpu_subjects import GATES, Ours, Torch, kinds, mode_of, pictures, set_precision, torch_device

Array = Any
BATCH, STEPS, EARLY, LR = 32, 50, 10, 0.02
ROUNDINGS = 5e-7  # an error that is float32's own, whatever PyTorch's is
APART = {"fp32-ieee": 1e-4, "tf32": 1e-2, "bf16": 1e-2}  # relative, of the losses of the first EARLY steps

TINY = {
    "linear 84 -> 10",
    "linear 7 -> 3",
    "max_pool2d 16x10x10, 2x2",
    "conv2d+relu+maxpool 6x14x14 -> 16, 5x5",
    "conv2d 5x6x9 -> 17, 2x3, stride 2x1, padding 1x0",
}


def gates(job: Job) -> None:
    """A row for each shape, and one for each network and kind that trains."""
    layers = [(2 if job.tiny else BATCH, op) for op in gpu_ops.layers()]
    shapes = [(n, op) for n, op in (*layers, *gpu_ops.odd()) if not job.tiny or op.text() in TINY]
    networks, every = ("tinydigits-cnn",) if job.tiny else ("lenet", "alexnet-lite"), kinds(job.device, tiny=job.tiny)
    training: dict[str, Any] = {f"{n}, {kind}": (_training, n, kind) for kind, n in product(every, networks)}
    late = {name: training.pop(name) for name in list(training) if name.endswith("numba")}  # it compiles for long
    rows = training | {
        f"{op.text()}, batch {n}": (_fused if isinstance(op, gpu_ops.Fused) else _layer, op, n) for n, op in shapes
    }
    rows |= late
    for name, _ in job.todo(list(rows)):
        function, *what = rows[name]
        job.measure(name, lambda function=function, what=what: function(job, *what))  # type: ignore[misc]


def _layer(job: Job, op: Op, n: int) -> dict[str, Any]:
    """The errors of each kind and of PyTorch, and whether a second run gave the same bits."""
    xp = job.clock.cupy if job.device == "cuda" else np
    name, drawn = gpu_ops.implemented_as(op), gpu_ops.draw(op, n).map(xp.asarray)
    exact = _results(gpu_ops.ours(gpucnn_kernels.load(name, "xp"), op, drawn.map(lambda a: a.astype("float64"))), op)
    found: dict[str, Any] = {"kinds": {}, "torch": {}, "passes": True}
    try:
        torch = need_torch()
        for mode in GATES:
            found["torch"][mode] = _torch_errors(torch, job, op, n, mode, exact)
    except Skipped as reason:
        found["torch"] = str(reason)
    for kind in kinds(job.device, name, job.tiny):
        passes = gpu_ops.ours(gpucnn_kernels.load(name, kind), op, drawn)
        try:
            runs = [_results(passes, op, like=exact, xp=xp) for _ in range(2)]
        except NotImplementedError as reason:
            found["kinds"][kind] = {"not_implemented": str(reason)}
            continue
        errors = {which: _error(xp, array, exact[which]) for which, array in runs[0].items()}
        same = all(bool((array == runs[1][which]).all()) for which, array in runs[0].items())
        theirs = found["torch"].get("fp32-ieee", {}) if isinstance(found["torch"], dict) else {}
        close = all(_close(kind, error, theirs.get(which)) for which, error in errors.items())
        found["kinds"][kind] = {"errors": errors, "same_bits": same, "passes": same and close}
        found["passes"] &= same and close
    return found


def _fused(job: Job, op: gpu_ops.Fused, n: int) -> dict[str, Any]:
    """Near a tie two roundings may choose two places, so gradients are those of the places that the kernels chose.

    code: the error of the exact values at these places.
    """
    xp = job.clock.cupy if job.device == "cuda" else np
    drawn = gpu_ops.draw(op, n).map(xp.asarray)
    wide, reference = drawn.map(lambda a: a.astype("float64")), gpucnn_kernels.load(op.kind, "xp")
    before = gpucnn_kernels.load("conv2d", "xp").forward(wide.x, wide.w, wide.b, *op.arguments[:2])
    y, _ = reference.forward(wide.x, wide.w, wide.b, *op.arguments)
    found: dict[str, Any] = {"kinds": {}, "torch": "runs them one by one", "passes": True}
    for kind in kinds(job.device, op.kind, job.tiny):
        module = gpucnn_kernels.load(op.kind, kind)
        drawn.code = wide.code = None
        passes = gpu_ops.ours(module, op, drawn)
        wide.code = drawn.code
        exact = {"y": y} | _results({"backward": gpu_ops.ours(reference, op, wide)["backward"]}, op)
        runs = [_results(passes, op, like=exact, xp=xp) for _ in range(2)]
        errors = {which: _error(xp, array, exact[which]) for which, array in runs[0].items()}
        errors["code"] = _error(xp, _at(xp, before, drawn.code, op.arguments[2]), y)
        same = all(bool((array == runs[1][which]).all()) for which, array in runs[0].items())
        close = all(_close(kind, error, None) for error in errors.values())
        found["kinds"][kind] = {"errors": errors, "same_bits": same, "passes": same and close}
        found["passes"] &= same and close
    return found


def _at(xp: Any, before: Array, code: Array, pool: tuple[int, int]) -> Array:
    """The numbers of `before` at the places of `code`, 0 where that says dead."""
    (n, c, oh, ow), (ph, pw) = code.shape, pool
    windows = before[:, :, : oh * ph, : ow * pw].reshape(n, c, oh, ph, ow, pw).transpose(0, 1, 2, 4, 3, 5)
    places = xp.minimum(code, ph * pw - 1).astype("int64")[..., None]
    taken = xp.take_along_axis(windows.reshape(n, c, oh, ow, ph * pw), places, -1)[..., 0]
    return xp.where(code == 255, 0, taken)


def _close(kind: str, error: float, theirs: float | None) -> bool:
    mode = mode_of(kind)
    most = GATES[mode]
    if mode == "fp32-ieee" and theirs is not None:
        most = min(most, max(2 * theirs, ROUNDINGS))
    return error <= most


def _results(passes: gpu_ops.Passes, op: Op, like: dict[str, Array] | None = None, xp: Any = np) -> dict[str, Array]:
    """Result by name: y, gx, gw and gb. `like`: into float32 arrays of these shapes, full of NaN before."""
    found = {}
    for part, call in passes.items():
        if part == "gx" and not op.needs_gx:
            continue
        names = gpu_ops.RESULTS[part]
        if like is None:
            results = call()
        else:
            out = [xp.full(like[name].shape, np.nan, "float32") if name in like else None for name in names]
            if part == "forward" and op.kind in ("max_pool2d", "conv2d_relu_maxpool"):
                out.append(xp.full(out[0].shape, 0xFF, "uint8"))
            results = call(out=tuple(out) if len(out) > 1 else out[0])
        pairs = zip(names, results if isinstance(results, tuple) else (results,), strict=False)
        found |= {name: result for name, result in pairs if result is not None}
    return found


def _torch_errors(torch: Any, job: Job, op: Op, n: int, mode: str, exact: dict[str, Array]) -> dict[str, float]:
    set_precision(torch, mode)
    dtype, where = torch.bfloat16 if mode == "bf16" else torch.float32, torch_device(job.device)
    drawn = gpu_ops.draw(op, n).map(lambda array: torch.from_numpy(array).to(where, dtype))
    xp = job.clock.cupy if job.device == "cuda" else np
    found = _results(gpu_ops.theirs(torch, op, drawn), op)
    return {which: _error(xp, xp.asarray(array.float()), exact[which]) for which, array in found.items()}


def _error(xp: Any, array: Array, exact: Array) -> float:
    """|error| / |value|; not finite where the array is not."""
    return float(xp.linalg.norm(array.astype("float64") - exact) / xp.linalg.norm(exact))


def _training(job: Job, network: str, kind: str) -> dict[str, Any]:
    """Losses of steps from equal weights on equal batches, without dropout, which draws differently in PyTorch."""
    batch, epoch, steps = (4, 4, 4) if job.tiny else (64, 10, STEPS)
    data = *pictures(network, epoch * batch), batch
    how = {
        "a graph": (True, 1),
        "the same again": (True, 1),
        "no graph": (False, 1),
        "a long graph": (True, epoch // 2),
    }
    runs = [_train(Ours(network, job.device, kind, *each), data, steps) for each in how.values()]
    found: dict[str, Any] = {"losses": runs[0][0], "graph": runs[0][2]["graph"]}
    found["same_bits"] = all(np.array_equal(weights, runs[0][1]) for _, weights, _ in runs)
    found["passes"] = found["same_bits"] and bool(np.isfinite(found["losses"]).all())
    try:
        theirs, _, _ = _train(Torch(network, job.device, mode_of(kind)), data, steps)
    except Skipped as reason:
        return found | {"torch": str(reason)}
    apart = [abs(a - b) / abs(b) for a, b in zip(found["losses"], theirs, strict=True)]
    found |= {"torch": theirs, "apart_early": max(apart[:EARLY]), "apart": max(apart)}
    found["passes"] &= found["apart_early"] <= APART[mode_of(kind)]
    return found


def _train(subject: Any, data: tuple, steps: int) -> tuple[list[float], Array, dict[str, Any]]:
    subject.load(*data)
    subject.mode(False)
    subject.rate(LR)
    losses = []
    while steps > 0:
        steps -= subject.step()
        losses.append(subject.loss())
    return losses, subject.weights(), subject.details()
