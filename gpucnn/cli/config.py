"""`--config FILE` and `--recipe NAME`: flags from a TOML file, where the command line does not give them."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError, nearest, shortened

_MOST, _MOST_DOTS = 1 << 16, 100  # characters in a file of flags, dots in a line of it
RECIPES = {file.stem: file for file in sorted((Path(__file__).parent / "recipes").glob("*.toml"))}


def read_config(context: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    """Callback of the eager option --config: the file's values become the defaults of the other flags."""
    if path is not None:
        context.default_map = {**(context.default_map or {}), **_read(context, path)}


def read_recipe(context: click.Context, parameter: click.Parameter, name: str | None) -> None:
    """Callback of the eager option --recipe: a file that comes with gpucnn, whose values yield to those of --config."""
    if name is not None:
        context.default_map = {**_read(context, RECIPES[name]), **(context.default_map or {})}


def _read(context: click.Context, path: Path) -> dict[str, Any]:
    """The values of a file, by the names of the flags that they are for."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MOST + 1)
        if len(text) > _MOST:
            raise UsageError(f"--config {path} has more than {_MOST:,} characters", "a line a flag is enough")
        if any(line.count(".") > _MOST_DOTS for line in text.splitlines()):  # tomllib takes the square of their number
            raise ValueError("a key of so many parts")
        values = tomllib.loads(text)
    except OSError as error:
        raise UsageError(
            f"--config {path}: {error.strerror}", "give a TOML file, e.g. the config.toml of a run"
        ) from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # no UTF-8, no TOML, a number of 5,000 digits, lists in lists in lists
        raise UsageError(f"--config {path} is no TOML: {error}", "one `flag = value` a line, e.g. epochs = 5") from None
    return flag_values(context, values, path)


def flag_values(context: click.Context, values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """`values`, which come from `path`, by the names of the flags that they are for; UsageError where they are not."""
    flags = {
        word.lstrip("-"): p
        for p in context.command.params
        for word in p.opts
        if word[:2] == "--" and p.expose_value  # the others, like --config, say where values come from
    }
    found: dict[str, Any] = {}
    for key, value in values.items():
        word = key.replace("_", "-")
        if word not in flags:
            raise nearest(f"key in {path}:", key, flags)
        wanted = _type_of(flags[word])
        if type(value) not in wanted or (type(value) is int and value.bit_length() > 64):
            raise UsageError(f"{key} = {shortened(value)} in {path} has the wrong type", f"give it {_NAMES[wanted]}")
        found[str(flags[word].name)] = value
    return found


_NAMES: dict[tuple[type, ...], str] = {
    (bool,): "true or false",
    (int,): "a whole number",
    (int, float): "a number",
    (str,): "a text in quotes",
}


def _type_of(flag: Any) -> tuple[type, ...]:
    """The TOML types that a flag takes."""
    if flag.is_flag:
        return (bool,)
    if isinstance(flag.type, click.types.IntParamType):
        return (int,)
    return (int, float) if isinstance(flag.type, click.FloatRange) else (str,)
