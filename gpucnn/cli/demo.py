"""`gpucnn demo`: a page on which one draws, and watches a model read."""

import os
import socket
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from ..errors import DeviceError, UsageError
from .demo_answer import Reader
from .options import json_option
from .output import Output, short

HOST = "127.0.0.1"  # this machine and nobody else: whoever can reach the page may use it


@click.command(short_help="Draw a digit and watch a model read it.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option("--open", "in_browser", is_flag=True, help="Open the page in a browser, too.")
@json_option
def demo(run: Path, port: int, in_browser: bool, as_json: bool) -> None:
    """Serve a page to draw on: it shows what the model in RUN takes the drawing for, and what each layer makes of it.

    RUN is a run folder or a .safetensors file of a model of grey pictures, best of digits. Nobody but this machine
    can open the page, and it asks nobody else for anything.
    """
    output = Output(as_json)
    server = _with_starlette()
    reader = Reader(run)
    try:
        listener = socket.create_server((HOST, port))
    except OSError as error:
        raise UsageError(f"--port {port}: {os.strerror(error.errno or 0)}", "take one that is free: --port 0") from None
    with listener, suppress(KeyboardInterrupt):
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        output.say(f"{reader.facts['model']} on {reader.facts['dataset']}: draw at {url} (Ctrl-C ends it)")
        output.result({"url": url} | reader.facts)
        if in_browser:
            webbrowser.open(url)
        server.serve(reader, listener)
    output.next("plot", "filters", short(run))


def _with_starlette() -> Any:
    """The module demo_server; DeviceError where a package that it needs is not installed."""
    try:
        from . import demo_server
    except ModuleNotFoundError as error:
        raise DeviceError(
            f"the page needs {error.name}, which is not installed", "pip install 'gpucnn[demo]'"
        ) from None
    return demo_server
