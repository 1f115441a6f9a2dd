"""`gpucnn doctor`: what this machine offers, and the command that mends what is missing."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import click

from .. import __version__
from ..backend import probe_cuda
from ..data.files import cache_folder
from .options import json_option
from .output import Output


class Finding(NamedTuple):
    """One line of the report; `mend` is empty where nothing is missing."""

    what: str
    state: str
    mend: str = ""


@click.command(short_help="Check what this machine offers.")
@json_option
def doctor(as_json: bool) -> None:
    """Check Python, the packages, the GPU and the data, and say how to mend what is missing."""
    from rich.console import Console
    from rich.table import Table

    output = Output(as_json)
    findings = list(_examine())
    table = Table("", "found", "to mend it", box=None)
    for finding in findings:
        table.add_row(*finding)
    Console(stderr=as_json, highlight=False).print(table)
    output.result({finding.what: {"found": finding.state, "mend": finding.mend} for finding in findings})
    output.next("train", "--dataset", "digits")


def _examine() -> list[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    findings = [
        Finding("gpucnn", __version__),
        Finding("python", f"{platform.python_version()} on {platform.platform()}, {cores} cores"),
    ]
    for package, mend in (("numpy", ""), ("numba", ""), ("scipy", ""), ("matplotlib", "pip install 'gpucnn[plot]'")):
        try:
            findings.append(Finding(package, version(package)))
        except PackageNotFoundError:
            findings.append(Finding(package, "not installed", mend))
    fault = probe_cuda()
    findings.append(Finding("gpu", str(fault), fault.hint) if fault else Finding("gpu", "runs kernels"))
    folder = os.environ.get("GPUCNN_DATA_DIR")
    missing = folder and not Path(folder).is_dir()
    findings.append(
        Finding("GPUCNN_DATA_DIR", folder or "not set", "it is no folder: set it to one" if missing else "")
    )
    cache = cache_folder()
    findings.append(Finding("data cache", f"{cache}{'' if cache.is_dir() else ' (empty)'}"))
    return findings
