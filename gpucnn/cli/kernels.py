"""`gpucnn kernels`: which kernels there are, whether they are right, and how they use memory."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import gpucnn_kernels
from gpucnn_kernels import cases

from ..backend import Device, parse_device
from ..errors import GpucnnError, UsageError
from .options import json_option
from .output import Output, short


@click.group(short_help="List, check and look into the kernels.")
def kernels() -> None:
    """The kernels: which there are, whether they are right, and how they use memory."""


@kernels.command("list")
@json_option
def list_(as_json: bool) -> None:
    """The ops and their implementations."""
    from rich.console import Console
    from rich.table import Table

    output = Output(as_json)
    ops = gpucnn_kernels.ops()
    kinds = sorted({impl for impls in ops.values() for impl in impls}, key=("xp", "cpu", "numba", "raw").index)
    table = Table("op", *kinds, box=None)
    for op, impls in ops.items():
        table.add_row(op, *("yes" if kind in impls else "" for kind in kinds))
    Console(stderr=as_json, highlight=False).print(table)
    output.say("numba and raw run on a GPU, or on the CPU with --device sim; kernels/<op>_<kind>.py is the source")
    output.result({op: list(impls) for op, impls in ops.items()})
    output.next("kernels", "check", "maxpool2d")


@kernels.command()
@click.argument("what", metavar="[OP|FILE.cu]", required=False)
@click.option("--op", metavar="OP[.FUNCTION]", help="What a FILE.cu computes, e.g. conv2d or conv2d.forward.")
@click.option("--impl", help="numba, raw or xp.  [default: all that run on the device]")
@click.option("--device", default="sim", show_default=True, help="sim, cuda, cuda:N, or cpu for xp.")
@click.option(
    "--sanitize", is_flag=True, help="Run each case again with every access checked, in three schedules (sim)."
)
@click.option("--ptx", is_flag=True, help="On sim: run the compiled PTX of the CUDA C, not its source.")
@click.option("--draws", type=click.IntRange(0), default=0, show_default=True, help="Further shapes, drawn at random.")
@json_option
def check(
    what: str | None,
    op: str | None,
    impl: str | None,
    device: str,
    sanitize: bool,
    ptx: bool,
    draws: int,
    as_json: bool,
) -> None:
    """Compare kernels with the reference in float64 over a table of shapes, between poisoned memory.

    OP is one op, FILE.cu kernels of your own (with --op, and on the simulator with --sanitize); without either all
    ops are checked. Exit code 1 where something is wrong.
    """
    from gpucnn_kernels.check import check as verdicts
    from gpucnn_kernels.sim import mode

    output = Output(as_json)
    where, _ = parse_device(device)
    if where.type != "sim" and (sanitize or ptx):
        hint = (
            "compute-sanitizer --tool memcheck gpucnn kernels check --device cuda" if sanitize else "use --device sim"
        )
        raise UsageError(f"--{'sanitize' if sanitize else 'ptx'} works on --device sim, not on {where}", hint)
    sanitize |= where.type == "sim" and bool(what and what.endswith(".cu"))
    results, wrong = [], 0
    for name, function, kind, module in _chosen(what, op, impl, where):
        table = [*cases.table(name), *cases.draws(name, draws)]
        table = [case for case in table if function in (None, case.function)]
        for which, group in groupby(sorted(table, key=lambda case: case.function), key=lambda case: case.function):
            with mode(tier="ptx" if ptx else "source"):
                found = list(verdicts(module, group, where.xp, sanitize))
            faults = [verdict for verdict in found if verdict.fault]
            worst = max((verdict.error for verdict in found if not verdict.fault), default=0.0)
            state = f"{len(faults)} of {len(found)} wrong" if faults else f"{len(found)} right"
            output.say(f"{name + '.' + which:28} {kind:6} {state:16} error at most {worst:.0%} of what rounding allows")
            for verdict in faults[:1]:
                output.say(f"  {verdict.case.shape}\n  {verdict.fault}")
            wrong += len(faults)
            results.append(
                {"op": name, "function": which, "impl": kind, "cases": len(found), "wrong": len(faults), "worst": worst}
                | {"faults": [f"{verdict.case}: {verdict.fault}" for verdict in faults]}
            )
    output.result({"device": str(where), "checked": results, "wrong": wrong})
    if wrong:
        raise GpucnnError(f"{wrong} cases are wrong", "the first of each function is above; --json lists all")


def _chosen(
    what: str | None, op: str | None, impl: str | None, where: Device
) -> Iterator[tuple[str, str | None, str, Any]]:
    """(op, function or None for all, what to call the implementation, its module) for each to check."""
    if what and what.endswith(".cu"):
        if not op:
            raise UsageError(f"{what}: which op are these kernels?", f"add --op, one of {', '.join(cases.ops())}")
        name, _, function = op.partition(".")
        _known(name)
        try:
            module = gpucnn_kernels.load(name, what)
        except ValueError as error:
            raise UsageError(str(error), "see docs/your-own-kernel.md") from None
        if function and function not in module.functions:
            raise UsageError(f"{what} has no kernel {name}_{function}", f"it has {', '.join(module.functions)}")
        for each in [function] if function else module.functions:
            yield name, each, short(Path(what)), module
        return
    if op:
        raise UsageError("--op goes with a FILE.cu", f"gpucnn kernels check {op.partition('.')[0]}")
    found = False
    for name in [_known(what)] if what else cases.ops():
        for kind in gpucnn_kernels.implementations(name):
            if impl in (None, kind) and (kind in ("xp", "cpu")) == (where.type == "cpu" or impl == "xp"):
                found = True
                yield name, None, kind, gpucnn_kernels.load(name, kind)
    if not found:
        every = ", ".join(gpucnn_kernels.implementations(what)) if what else "xp, numba, raw"
        raise UsageError(
            f"{what or 'no op'} has no kernels {impl or ''} for {where}".replace("  ", " "), f"there are {every}"
        )


def _known(op: str) -> str:
    if op not in cases.ops():
        raise UsageError(f"no op {op!r} to check", f"the ops are {', '.join(cases.ops())}")
    return op
