"""The command line: one file a command. Errors are one line and a hint; see errors.py for the exit codes."""

import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click
import numpy as np

from .. import __version__
from .bench import bench
from .data import data
from .demo import demo
from .doctor import doctor
from .eval import eval_
from .export import export
from .kernels import kernels
from .notes import heard_kernels
from .output import program
from .plot import plot
from .predict import predict
from .profile import profile
from .ranks import end
from .reproduce import reproduce
from .summary import summary
from .train import train


class Commands(click.Group):
    """A group that turns every failure into `error:`, `hint:` and an exit code."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        words = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in words
        try:
            words = [word for word in words if word != "--debug"]
            with (
                heard_kernels(),
                np.errstate(all="ignore"),
            ):  # numbers that are not finite are looked for, and said in words
                code = super().main(words, prog_name or program(), standalone_mode=False, obj=words)
            sys.exit(code if isinstance(code, int) else 0)
        except click.exceptions.NoArgsIsHelpError as no_command:
            click.echo(no_command.format_message())
            sys.exit(no_command.exit_code)
        except Exception as error:
            if debug:
                traceback.print_exc()
            message, hint, code = _explain(error)
            end(code, message, *([f"hint: {hint}"] if hint else []))
            sys.exit(code)


def _explain(error: Exception) -> tuple[str, str, int]:
    """(what is wrong, what to do, exit code)"""
    if hasattr(error, "hint"):  # ours, and what the kernels raise
        return str(error), error.hint, getattr(error, "exit_code", 1)
    if isinstance(error, click.Abort):
        return "interrupted", "", 130
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        hint = f"{context.command_path if context else program()} --help"
        return error.format_message().replace("\n", " "), hint, error.exit_code
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'system'}: {error.strerror}", "choose another path, or mend this one", 1
    if isinstance(error, MemoryError):
        return f"out of memory ({error})", "use smaller batches, a smaller model or less data", 1
    return f"{type(error).__name__}: {error}", "this is a bug: run again with --debug and report the traceback", 1


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="--debug, anywhere, shows the traceback of an error.",
)
@click.version_option(__version__, prog_name="gpucnn")
def main() -> None:
    """Train small convolutional networks on the CPU or an NVIDIA GPU, with kernels that you can read.

    Begin with `gpucnn train --dataset digits`: it needs no download and no GPU.
    """


for command in (train, eval_, predict, demo, plot, export, summary, reproduce, profile, bench, data, kernels, doctor):
    main.add_command(command)
