"""`gpucnn kernels`: which kernels there are, whether they are right, and how they use memory."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import click
import gpucnn_kernels
import numpy as np
from gpucnn_kernels import cases

from ..backend import KINDS, Device, own_kernels, parse_device, probe_kernels
from ..errors import DeviceError, GpucnnError, UsageError
from .isolated import Died, isolated
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
    kinds = sorted({impl for impls in ops.values() for impl in impls}, key=gpucnn_kernels.IMPLEMENTATIONS.index)
    table = Table("op", *kinds, box=None)
    for op, impls in ops.items():
        table.add_row(op, *("yes" if kind in impls else "" for kind in kinds))
    Console(stderr=as_json, highlight=False).print(table)
    output.say("cpu and exact run on the CPU, the others on a GPU, or anywhere with --device sim; xp runs on both")
    output.say("kernels/<op>_<kind>.py is the source")
    output.result({op: list(impls) for op, impls in ops.items()})
    output.next("kernels", "check", "maxpool2d")


def what_options(command: Any) -> Any:
    """WHAT, --op"""
    command = click.option("--op", metavar="OP[.FUNCTION]", help="What a FILE.cu computes.")(command)
    return click.argument("what", metavar="[OP[.FUNCTION]|FILE.cu]", required=False)(command)


@kernels.command()
@what_options
@click.option("--impl", help="numba, raw, cpu, exact or xp.  [default: all that run on the device]")
@click.option("--device", default="sim", show_default=True, help="sim, cuda, cuda:N or cpu.")
@click.option("--sanitize", is_flag=True, help="First run each case in three schedules, every access checked (sim).")
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
    from gpucnn_kernels.check import Verdict
    from gpucnn_kernels.check import check as verdicts
    from gpucnn_kernels.sim import mode

    output = Output(as_json)
    where, _ = parse_device(device)
    if where.type != "sim" and (sanitize or ptx):
        hint = "compute-sanitizer gpucnn kernels check --device cuda" if sanitize else "use --device sim"
        raise UsageError(f"--{'sanitize' if sanitize else 'ptx'} works on --device sim, not on {where}", hint)
    sanitize |= where.type == "sim" and bool(what and what.endswith(".cu"))
    results, wrong = [], 0
    for kernel in chosen(what, op, impl, where, output):
        tried = [*kernel.table(), *kernel.draws(draws)]
        found: list[Verdict] = []
        with mode(tier="ptx" if ptx else "source"):
            arguments = kernel, tried, where.xp, sanitize
            try:
                for verdict in isolated(verdicts, *arguments) if where.type == "sim" else verdicts(*arguments):
                    found.append(verdict)
            except Died as end:
                found.append(Verdict(tried[len(found)], np.inf, str(end)))
        faults = [verdict for verdict in found if verdict.fault]
        worst = max((verdict.error for verdict in found if not verdict.fault), default=0.0)
        state = f"{len(faults)} of {len(found)} wrong" if faults else f"{len(found)} right"
        output.say(f"{kernel.name:28} {kernel.kind:6} {state:16} error at most {worst:.0%} of what rounding allows")
        for verdict in faults[:1]:
            output.say(f"  {verdict.case.shape}\n  {verdict.fault}")
        wrong += len(faults)
        results.append(
            {"op": kernel.op, "function": kernel.function, "impl": kernel.kind, "cases": len(found)}
            | {"wrong": len(faults), "worst": worst, "faults": [f"{v.case}: {v.fault}" for v in faults]}
        )
    output.result({"device": str(where), "checked": results, "wrong": wrong})
    if wrong:
        raise GpucnnError(f"{wrong} cases are wrong", "the first of each function is above; --json lists all")


@kernels.command()
@what_options
@click.option("--impl", default="raw", show_default=True, help="raw or numba.")
@json_option
def report(what: str | None, op: str | None, impl: str, as_json: bool) -> None:
    """Count what each source line asks of the memory, on the simulator, for a large shape of the table.

    A warp that loads 32 neighbouring floats touches 4 sectors of 32 bytes; 32 sectors mean that every thread is alone
    in its own. Shared memory takes 1 round where no two threads want different words of one bank.
    """
    output = Output(as_json)
    results = []
    for kernel in chosen(what, op, impl, Device("sim"), output):
        shapes = [case for case in kernel.table() if not case.long]
        case = max(shapes, key=lambda case: sum(np.size(argument) for argument in case.arguments))
        try:
            [accesses] = isolated(count_accesses, kernel, case)
        except Died as end:
            raise GpucnnError(f"{kernel.name}: {end}", f"gpucnn kernels check {kernel.name}") from None
        output.say(f"{kernel.name}, {kernel.kind}, {case.shape}\n{accesses}\n")
        lines = [asdict(line) for line in accesses.lines]
        results.append(
            {"op": kernel.op, "function": kernel.function, "impl": kernel.kind, "shape": case.shape, "lines": lines}
        )
    output.result({"reports": results})


def count_accesses(kernel: "Kernel", case: cases.Case) -> Iterator[Any]:
    """The AccessReport of one call."""
    from gpucnn_kernels.sim import AccessReport, mode

    accesses = AccessReport()
    with mode(report=accesses):
        kernel(*case.single())
    yield accesses


class Kernel(NamedTuple):
    """One function of an implementation; `contract` is the one of the reference that it computes."""

    op: str
    function: str
    contract: str
    kind: str
    call: Callable[..., Any]

    def __call__(self, *arguments: Any, **buffers: Any) -> Any:
        return self.call(*arguments, **buffers)

    def table(self) -> list[cases.Case]:
        return [case for case in cases.table(self.op, self.impl) if case.function == self.contract]

    def draws(self, count: int) -> list[cases.Case]:
        drawn = cases.draws(self.op, count, impl=self.impl)
        return [case for case in drawn if case.function == self.contract]

    @property
    def impl(self) -> str:
        """The implementation; that of a file is CUDA C."""
        return "raw" if self.kind.endswith(".cu") else self.kind

    @property
    def name(self) -> str:
        return f"{self.op}.{self.function}"


def chosen(what: str | None, op: str | None, impl: str | None, where: Device, output: Output) -> Iterator[Kernel]:
    """What WHAT, --op and --impl name, of what runs on `where`; a kind that is not asked for by name may be missing."""
    file = what if what and what.endswith(".cu") else None
    if file and not op:
        raise UsageError(f"{file}: which op are these kernels of?", "add --op conv2d, say")
    if op and not file:
        raise UsageError("--op goes with a FILE.cu", f"gpucnn kernels check {op}")
    name, _, function = ((op if file else what) or "").partition(".")
    if name and name not in cases.ops():
        raise UsageError(f"no op {name!r} to check", f"the ops are {', '.join(cases.ops())}")
    if file:
        if impl not in (None, "raw") or where.type == "cpu":
            hint = "add --device sim" if where.type == "cpu" else "leave out --impl"
            raise UsageError(f"{file} is CUDA C: it runs on sim and cuda, without --impl", hint)
        own = own_kernels(name, file)
        if function and function not in own.functions:
            raise UsageError(f"{file} has no kernel {name}_{function}", f"it has {', '.join(own.functions)}")
        for each in [function] if function else own.functions:
            yield Kernel(name, each, each, short(Path(file)), getattr(own, each))
        return
    pairs = [(o, i) for o in ([name] if name else cases.ops()) for i in gpucnn_kernels.implementations(o)]
    pairs = [
        (o, i) for o, i in pairs if impl in (None, i) and ((i in KINDS["cpu"]) == (where.type == "cpu") or i == impl)
    ]
    if not pairs:
        kinds = ", ".join(gpucnn_kernels.implementations(name)) if name else "xp, numba, raw"
        raise UsageError(f"{name or 'no op'} has no kernels {impl or ''} for {where}", f"there are {kinds}")
    missing = {kind: probe_kernels(where, kind) for kind in dict.fromkeys(kind for _, kind in pairs)}
    for kind, fault in missing.items():
        if fault and (impl or all(missing.values())):
            raise DeviceError(f"{kind} kernels do not run on {where}: {fault}", fault.hint or "gpucnn doctor")
        if fault:
            output.say(
                f"{kind} kernels are left out, they do not run on {where}: {fault}; {fault.hint or 'gpucnn doctor'}"
            )
    for each, kind in pairs:
        if not missing[kind]:
            yield from _functions(each, kind, function)


def _functions(op: str, kind: str, wanted: str) -> Iterator[Kernel]:
    module = gpucnn_kernels.load(op, kind)
    contracts = dict.fromkeys(case.function for case in cases.table(op))
    for function in [wanted] if wanted else contracts:
        # forward_naive and forward_tiled, rungs of a ladder, compute what forward does
        contract = max((c for c in contracts if f"{function}_".startswith(f"{c}_")), key=len, default="")
        if not contract or not hasattr(module, function):
            raise UsageError(f"{op}_{kind} has no function {function!r}", f"it has {', '.join(contracts)}")
        yield Kernel(op, function, contract, kind, getattr(module, function))
