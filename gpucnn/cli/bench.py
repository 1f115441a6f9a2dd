"""`gpucnn bench`: how long kernels, training steps and launches take here; checked before, and again afterwards."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import click
from gpucnn_kernels import launchcost

from ..backend import Device, parse_device, recorder
from ..cpu import prepare, set_threads
from ..data import Batches
from ..errors import GpucnnError
from ..memory import enough_memory, require_memory
from ..module import Module
from ..roofs import roofs
from ..training import rehearse
from .bench_kernels import Call, calls, clock_of, measured, new_model, pictures
from .bench_step import step
from .environment import environment
from .kernels import chosen, what_options
from .options import device_options, json_option, threads_option
from .output import Output

RECORDED = 100  # calls in one graph or recording


@click.group(short_help="Measure kernels, training steps and launches.")
def bench() -> None:
    """How long kernels, training steps and launches take on this machine.

    On --device sim everything is walked through, but its times say nothing about a GPU.
    """


def model_options(command: Any) -> Any:
    """--model, --batch-size"""
    command = click.option("-b", "--batch-size", type=click.IntRange(1), default=128, show_default=True)(command)
    return click.option(
        "--model", default="lenet", show_default=True, help="The architecture: see gpucnn summary."
    )(command)  # fmt: skip


@bench.command("kernels")
@what_options
@click.option("--impl", help="numba, raw, cpu, exact or xp.  [default: all that run on the device]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or sim.")
@model_options
@threads_option
@click.option("--repeats", type=click.IntRange(1), default=20, show_default=True, help="Times that each is measured.")
@json_option
def kernels_(
    what: str | None,
    op: str | None,
    impl: str | None,
    device: str,
    model: str,
    batch_size: int,
    threads: int | None,
    repeats: int,
    as_json: bool,
) -> None:
    """Time every kernel that a training step of a model calls, with the arrays of that step and cold caches.

    OP names one op or function, FILE.cu kernels of your own (with --op). Each is compared with the reference in float64
    first, and must give the same bits afterwards. Medians, and the least and most of the repeats.
    """
    output = Output(as_json)
    where, _ = parse_device(device)
    if threads is not None:
        set_threads(threads, where)
    _rehearsal(where, output)
    found = under_roofs(where, _calls(where, output, what, op, impl, model, batch_size), repeats)
    _print_kernels(found, output)
    _end(output, where, {"model": model, "batch_size": batch_size} | found)


def under_roofs(where: Device, each: Iterable[Call], repeats: int) -> dict[str, Any]:
    """roofs: GFLOP/s and GB/s, null on the simulator. rows: see `measured`; of_roof: the share of what is possible."""
    clock, tops, rows = clock_of(where), roofs(where), []
    for call in each:
        row = measured(call, clock, repeats)
        if tops and "us" in row:
            row["of_roof"] = 1e6 * tops.seconds(call.cost) / row["us"]
        rows.append(row)
    return {"roofs": asdict(tops) if tops else None, "rows": rows}


def _calls(
    where: Device, output: Output, what: str | None, op: str | None, impl: str | None, model: str, size: int
) -> Iterator[Call]:
    """The calls of a step that WHAT, --op and --impl name: of each kind, those of a step with its kernels."""
    wanted = list(chosen(what, op, impl, where, output))
    kinds = dict.fromkeys("raw" if kernel.kind.endswith(".cu") else kernel.kind for kernel in wanted)
    fuse = not what or (op or what).startswith("conv2d_relu_maxpool")
    steps: dict[str, list[Call]] = {}
    for kind in kinds:
        device = Device(where.type, where.index, kind, fuse)
        built = new_model(model, device)
        train = pictures(built, size, device)
        _prepare(built, train)
        steps[kind] = calls(built, train)
    for kernel in wanted:
        for call in steps["raw" if kernel.kind.endswith(".cu") else kernel.kind]:
            if (call.op, call.function) == (kernel.op, kernel.contract):
                yield call.by(kernel.call, kernel.kind, kernel.function)


def _prepare(model: Module, train: Batches) -> None:
    """Compile what a step needs; DeviceError where it does not fit into memory."""
    with enough_memory(model, train):
        prepare(train.device, partial(rehearse, model, train))
        require_memory(model, train)


@bench.command("step")
@model_options
@device_options
@threads_option
@click.option("--graph/--no-graph", default=True, help="As of gpucnn train.  [default: graph]")
@click.option("--seconds", type=click.FloatRange(0.0), default=5.0, show_default=True, help="Of steps, in five rounds.")
@json_option
def step_(
    model: str,
    batch_size: int,
    device: str,
    kernels: str | None,
    precision: str | None,
    fuse: bool,
    threads: int | None,
    graph: bool,
    seconds: float,
    as_json: bool,
) -> None:
    """Time training steps: an augmented batch, forward, loss, backward and SGD with momentum.

    The gradients are compared with float64 first; afterwards the loss must be finite and the weights others. Median of
    five rounds, and the fastest and slowest of them.
    """
    output = Output(as_json)
    where, _ = parse_device(device, kernels, fuse, graph, precision)
    if threads is not None:
        set_threads(threads, where)
    _rehearsal(where, output)
    built = new_model(model, where)
    train = pictures(built, batch_size, where, batches=8)
    _prepare(built, train)
    row: dict[str, Any] = {"model": model, "batch_size": batch_size} | step(built, train, seconds)
    if "us" in row:
        times = " to ".join(f"{1e-3 * row[name]:,.3f}" for name in ("us_min", "us_max"))
        output.say(f"{model}, batch {batch_size}, {where}, kernels {where.kernels_in_words()}")
        output.say(f"{1e-3 * row['us']:,.3f} ms a step ({times}), {row['images_per_second']:,.0f} images/s")
        output.say(f"gradients are off by {row['error']:.1e} from float64")
    _end(output, where, {"rows": [row]})


@bench.command("launch")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or sim.")
@click.option(
    "--calls", "count", type=click.IntRange(1), default=1000, show_default=True, help="In each round of seven."
)
@json_option
def launch(device: str, count: int, as_json: bool) -> None:
    """Time calls of empty kernels: of each kind, for each argument, and repeated as a step repeats them.

    A launch on a GPU is timed until it returns, without waiting for the GPU.
    """
    output = Output(as_json)
    where, _ = parse_device(device)
    _rehearsal(where, output)
    clock, rows, lines = clock_of(where), [], []
    for kind in launchcost.KINDS[where.type]:
        row = {"kind": kind} | launchcost.cost(kind, where.xp, clock, count)
        row["us_repeated"] = _repeated(where, clock, launchcost.one(kind, where.xp))
        rows.append(row)
        names = ("us", "us_min", "us_max", "us_array", "us_number", "us_repeated")
        lines.append([kind, *("" if row[name] is None else f"{row[name]:.3f}" for name in names)])
    output.table(("call", "µs", "from", "to", "an array more", "a number more", "repeated"), lines, 1)
    output.say("microseconds of a call with one array; repeated: in a recording or CUDA graph of 100")
    _end(output, where, {"rows": rows})


def _repeated(where: Device, clock: Any, call: Callable[[], object]) -> float | None:
    """Microseconds of a call in a recording, or CUDA graph, of many; None where it cannot be recorded."""
    recording = recorder(where)(lambda: [call() for _ in range(RECORDED)])
    if recording.fault:
        return None
    return min(clock.timed(recording, 1)[0] for _ in range(20)) * 1e6 / RECORDED


def _rehearsal(where: Device, output: Output) -> None:
    if where.type == "sim":
        output.say("a rehearsal: times of the simulator say nothing about a GPU")


def _print_kernels(found: dict[str, Any], output: Output) -> None:
    lines = []
    for row in found["rows"]:
        cells = [row["name"], row["op"], row["kernels"]]
        if "us" in row:
            cells += [f"{row[name]:,.1f}" for name in ("us", "us_min", "us_max")]
            cells += [f"{row['gflops']:,.1f}", f"{row['gbs']:,.1f}"]
            cells += [f"{row['of_roof']:.0%}" if "of_roof" in row else "", f"{row['error']:.0e}"]
        lines.append(cells)
    heads = ("pass", "op", "kernels", "µs", "from", "to", "GFLOP/s", "GB/s", "of roof", "error")
    output.table(heads, lines, 3)
    if tops := found["roofs"]:
        output.say(f"roofs: {tops['gflops']:,.0f} GFLOP/s, {tops['gbs']:,.0f} GB/s")


def _end(output: Output, where: Device, found: dict[str, Any]) -> None:
    """--json, and an error for rows with a fault."""
    output.result(environment(where) | {"rehearsal": where.type == "sim"} | found)
    named = [
        (row.get("name") or row.get("model"), row.get("kernels", where), row.get("fault")) for row in found["rows"]
    ]
    if faults := [f"{name}, {kernels}: {fault}" for name, kernels, fault in named if fault]:
        raise GpucnnError("; ".join(faults), "gpucnn kernels check says more")
    if not found["rows"]:
        raise GpucnnError(f"a step of {found['model']} calls none of these kernels", "name others, or another --model")
