"""The tables of docs/claims.md, and that of accuracies, from what `gpucnn reproduce` wrote to results/claims."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from markdown_table import table

from gpucnn.claims import CLAIMS, spread, values, words
from gpucnn.cli.claim_record import quantities

RESULTS = Path(__file__).parent / "results" / "claims"
NOT_YET = "not run yet"


def records(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Of each claim, in the order of CLAIMS, its result on each device where it was run to its end, and not quickly."""
    files = (folder / f"{name}{device}.json" for name in CLAIMS for device in ("", "-cuda"))
    found = [json.loads(file.read_text()) for file in files if file.exists()]
    return [record for record in found if record["verdict"]]


def claims() -> str:
    """A row a claim and device: what is claimed, by whom, and the verdict."""
    heads = ("claim", "what is claimed", "by", "verdict", "device")
    found = records()
    rows = [
        (f"[{each['claim']}](#{each['claim']})", each["says"], each["by"], each["verdict"], _where(each))
        for each in found
    ]
    ran = {each["claim"] for each in found}
    return table(
        heads, rows + [(name, each.says, each.by, NOT_YET, "") for name, each in CLAIMS.items() if name not in ran]
    )


def claims_count() -> str:
    """How many there are, and what became of them."""
    counts = Counter(record["verdict"] for record in records())
    return f"Of {len(CLAIMS)} claims: {', '.join(f'{count} {verdict}' for verdict, count in counts.items())}."


def accuracy() -> str:
    """Network and data set, epochs, test accuracy, seeds, seconds: one row a claim of one network and all images."""
    rows = []
    for record in records():
        runs, defined = record["runs"], record["definition"]
        if not defined["images"] and len(defined["variants"]) == 1:
            name, dataset = runs[0]["variant"], defined["flags"].split()[1]
            measured = [spread(what, values(runs, name, what)) for what in ("epochs", "test_accuracy", "seconds")]
            rows.append((name, dataset, *measured, len(runs), _where(record)))
    heads = ("model", "data set", "epochs", "test accuracy", "seconds", "seeds", "device")
    how = "Measured with `make bench`; seconds by the clock, of training, on cores that others used, too."
    return f"{table(heads, rows)}\n\n{how}"


def claims_runs() -> str:
    """Of each claim the budget, a table of what its variants came to, and which criteria hold."""
    return "\n\n".join(map(_section, records()))


def _section(record: dict[str, Any]) -> str:
    runs, defined = record["runs"], record["definition"]
    columns, first, seeds = quantities(runs), runs[0], defined["seeds"]
    rows = []
    for name, how in defined["variants"].items():
        flags = f" (`{how}`)" if how.startswith("--") else ""
        rows.append((name + flags, *(spread(what, values(runs, name, what)) for what in columns)))
    budget = (
        f"`gpucnn train {defined['flags']}`: {first['epochs']} epochs of {first['images']:,} images, "
        f"{first['test_images']:,} test images, {seeds} seed{'s' * (seeds > 1)}; {_where(record)}, "
        f"{record['environment']['cpu']}."
    )
    judged = "\n".join(f"- {'yes' if each['holds'] else 'no'}: {each['criterion']}" for each in record["criteria"])
    found = table(("", *map(words, columns)), rows)
    parts = f"### {record['claim']}", record["says"], budget, found, judged, f"**{record['verdict']}**"
    return "\n\n".join(parts)


def _where(record: dict[str, Any]) -> str:
    return f"{record['device']}, kernels {record['kernels']['conv2d']}"
