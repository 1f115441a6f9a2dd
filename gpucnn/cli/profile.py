"""`gpucnn profile`: which layer and which kernel of a training step costs what, and how far from the hardware it is."""

import sys
import tempfile
from copy import copy
from pathlib import Path
from typing import Any

import click

from ..backend import parse_device
from ..errors import DeviceError, UsageError
from ..measure import nsys
from ..measure.slices import Profile
from .figures import are_costs, is_count, is_time, read_figures
from .notes import note
from .options import Finite, json_option
from .output import Output
from .profile_report import Report
from .profile_session import FIXED, Session
from .recipe import with_recipe
from .train import train

TOOLS = ("auto", "nsys", "events", "cpu", "nvtx")
OF_TRAIN: list[Any] = [copy(option) for option in train.params if option.name not in ("as_json", "resume")]
for option in OF_TRAIN:
    option.hidden = option.hidden or option.name in FIXED  # a run's config.toml has them, too


def _roof(name: str, what: str) -> Any:
    how = f"The roof of {what}.  [default: measured once and kept]"
    return click.option(name, type=Finite(0, min_open=True), metavar="N", help=how)


def _file(name: str, kind: str, what: str) -> Any:
    return click.option(name, type=click.Path(path_type=Path, dir_okay=False), metavar=kind, help=what)


@click.command(short_help="Show where the time of a training step goes.", params=list(OF_TRAIN))
@click.option("--tool", type=click.Choice(TOOLS), default="auto", show_default=True,
              help="auto: nsys where it is on the PATH, else CUDA events; timers on the CPU. nvtx names ranges "
              "for tools that run around it, and times nothing.")  # fmt: skip
@click.option("--steps", type=click.IntRange(1), default=10, show_default=True, help="How many to profile; on sim, 1.")
@click.option(
    "--graph-nodes", is_flag=True, help="With nsys: let the step be one CUDA graph. Its kernels have no layers."
)
@click.option("--from", "from_", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE",
              help="Run nothing: read a .nsys-rep, or one of its reports as CSV.")  # fmt: skip
@_file("--report", "FILE.nsys-rep", "Keep what nsys records.")
@_file("--csv", "FILE", "Write the table.")
@_file("--trace", "FILE.json", "Write a trace for ui.perfetto.dev.")
@_file("--png", "FILE", "Draw the roofline.")
@_roof("--peak-gflops", "arithmetic, in GFLOP/s")
@_roof("--peak-gbs", "memory, in GB/s")
@click.option("--measure-roofs", is_flag=True, help="Measure the roofs anew.")
@click.option("--facts", type=click.Path(path_type=Path), hidden=True)
@json_option
@click.pass_context
def profile(context: click.Context, as_json: bool, **flags: Any) -> None:
    """Time each layer and kernel of some training steps, beside what their arithmetic and bytes allow.

    Takes the flags of gpucnn train. On --device sim it counts accesses to memory, which has no times there. The table
    of layers is of steps that Python makes, kernel after kernel: a step that is repeated as it was recorded does not
    say what runs in it.
    """
    own = {name: flags.pop(name) for name in list(flags) if name not in {option.name for option in OF_TRAIN}}
    output = Output(as_json)
    report = Report(output, own["csv"], own["trace"], own["png"])
    if own["from_"]:
        report.show("nsys", *recorded(own["from_"]))
        return
    flags = with_recipe(context, flags) | FIXED
    if own["tool"] == "nvtx":
        Session(flags | {"graph": own["graph_nodes"]}, own, output).between_marks(own["steps"], own["facts"])
        return
    if own["tool"] == "nsys" or (own["tool"] == "auto" and nsys.on_path() and _on_gpu(flags["device"])):
        try:
            report.show("nsys", *_under_nsys(context.find_root().obj, own["report"]))
            return
        except DeviceError as fault:
            note(f"{fault}; the steps are timed without nsys", fault.hint)
    elif own["report"]:
        raise UsageError(f"--report {own['report']}: only nsys writes it, and none runs here", "leave it out")
    session = Session(flags, own, output)
    kind = session.device.type
    if own["tool"] not in ("auto", "nsys", {"cuda": "events"}.get(kind, kind)):
        raise UsageError(f"--tool {own['tool']} does not look into {session.device}", "leave --tool out")
    if kind == "sim":
        if own["trace"] or own["png"]:
            raise UsageError("the simulator has no times to trace or to draw", "leave out --trace and --png")
        report.show_accesses(session.accesses(), session.facts())
    else:
        profiled = session.profile(own["steps"])
        report.show("CUDA events" if kind == "cuda" else "CPU timers", profiled, session.facts())


def _on_gpu(device: str) -> bool:
    return parse_device(device)[0].type == "cuda"


def _under_nsys(words: list[str], keep: Path | None) -> tuple[Profile, dict[str, Any]]:
    """The same command in a process of its own, recorded. DeviceError where nsys fails."""
    with tempfile.TemporaryDirectory() as folder:
        report = keep or Path(folder) / "profile.nsys-rep"
        if report.suffix != ".nsys-rep":
            raise UsageError(f"--report {report}: nsys's reports end with .nsys-rep", f"--report {report}.nsys-rep")
        facts = report.with_suffix(".json")
        nsys.record([sys.executable, "-m", "gpucnn", *words, "--tool", "nvtx", "--facts", str(facts)], report)
        return _read(nsys.export(report, Path(folder) / "profile"), facts)


def recorded(file: Path) -> tuple[Profile, dict[str, Any]]:
    """What was recorded before."""
    if file.suffix == ".nsys-rep":
        with tempfile.TemporaryDirectory() as folder:
            return _read(nsys.export(file, Path(folder) / "profile"), file.with_suffix(".json"))
    base = nsys.base_of(file)
    return _read(nsys.exported(base), base.with_suffix(".json"))


def _read(texts: dict[str, str], facts: Path) -> tuple[Profile, dict[str, Any]]:
    """facts: what Session.facts says of the recorded steps, if it was kept beside them."""
    wanted = {"steps": is_count, "plain_step_us": is_time, "costs": are_costs}
    known = read_figures(facts, "delete it: there are times without it", **wanted) if facts.exists() else {}
    return nsys.profile(texts, known.get("steps")), known
