"""`gpucnn reproduce`: put what is claimed of convolutional networks to the test."""

import os
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import click

from ..backend import parse_device
from ..claims import CLAIMS, Claim, claim_named, spread, values, words
from ..data import load
from .claim_record import Record, quantities
from .options import device_options, json_option, threads_option
from .output import Output, short
from .run_folder import cannot_write
from .stop import Stopped


@click.command(short_help="Put what is claimed of CNNs to the test.")
@click.argument("names", metavar="[CLAIM]...", nargs=-1)
@click.option("--all", "all_", is_flag=True, help="Every claim, what costs least first: about an hour on one core.")
@click.option("--list", "list_", is_flag=True, help="Only name them.")
@click.option("--quick", is_flag=True, help="A few steps of each run: it shows that all works, and decides nothing.")
@click.option("--download/--no-download", default=True, help="Fetch missing data.  [default: download]")
@device_options
@threads_option
@click.option("--output-dir", type=click.Path(path_type=Path, file_okay=False), default=Path("runs/claims"),
              show_default=True, help="Where results are kept, a file a claim.")  # fmt: skip
@json_option
@click.pass_context
def reproduce(
    context: click.Context, names: tuple[str, ...], all_: bool, list_: bool, quick: bool, as_json: bool, **flags: Any
) -> None:
    """Train what each CLAIM compares, and say whether what is claimed is so here; without CLAIM, list them.

    A run that is done is kept: the same command goes on after an interruption, and repeats nothing that was measured.
    """
    output = Output(as_json)
    chosen = [claim_named(name) for name in names] or (list(CLAIMS.values()) if all_ else [])
    if list_ or not chosen:
        for each in chosen or CLAIMS.values():
            output.say(f"{each.name:24}{each.says}")
        output.result({"claims": {each.name: each.says for each in chosen or CLAIMS.values()}})
        output.next("reproduce", "--all" if all_ or not names else names[0])
        return
    folder = flags.pop("output_dir")
    _require_folder(folder)
    device, why = parse_device(flags["device"], flags["kernels"], flags["fuse"], True, flags["precision"])
    output.say(f"{device} ({why}), kernels {device.kernels_in_words()}")
    load_once = lru_cache(partial(load, download=flags["download"]))
    records = []
    for each in chosen:
        record = Record(each.quick() if quick else each, folder, device, quick)
        _introduce(record.claim, output)
        try:
            record.complete(flags, load_once, output)
        except Stopped as stopped:
            output.say(f"stopped in {each.name}; runs that are done are in {folder}")
            output.next(*context.find_root().obj)
            raise SystemExit(stopped.exit_code) from None
        _conclude(record, output)
        records.append(record.as_json())
    output.result({"claims": records})


def _require_folder(folder: Path) -> None:
    """UsageError, before anything is trained, where it is no folder and cannot become one."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise cannot_write(folder)


def _introduce(claim: Claim, output: Output) -> None:
    images = "all images" if claim.images is None else f"the first {claim.images[0]:,} images"
    output.say(f"\n{claim.name}: {claim.says}")
    output.say(f"claimed by {claim.by}")
    output.say(f"{images}, {claim.seeds} seed{'s' * (claim.seeds > 1)}: gpucnn train {claim.flags}")


def _conclude(record: Record, output: Output) -> None:
    """What was measured, and what follows."""
    columns = quantities(record.runs)
    rows = [
        [variant, *(spread(what, values(record.runs, variant, what)) for what in columns)]
        for variant in record.claim.variants
    ]
    output.table(("", *map(words, columns)), rows, 1)
    for criterion in record.claim.criteria:
        output.say(f"{'yes' if criterion.holds(record.runs) else 'no '}  {criterion}")
    output.say(f"{record.claim.name}: {record.verdict()}; in {short(record.path)}")
