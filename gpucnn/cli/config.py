"""`--config FILE`: the flags of a command from a TOML file, where the command line does not give them."""

import tomllib
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError, nearest


def read_config(context: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    """Callback of the eager option --config: the file's values become the defaults of the other flags."""
    if path is None:
        return
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise UsageError(
            f"--config {path}: {error.strerror}", "give a TOML file, e.g. the config.toml of a run"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path} is no TOML: {error}", "one `flag = value` a line, e.g. epochs = 5") from None
    known = {p.name: p for p in context.command.params if p.name and p is not parameter}
    defaults: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in known:
            raise nearest(f"key in {path}:", key, known)
        defaults[name] = value
    context.default_map = {**(context.default_map or {}), **defaults}
