"""The tables of docs/claims.md, from what `gpucnn reproduce` wrote to results/claims."""

import json
from pathlib import Path
from typing import Any

from gpucnn.claims import CLAIMS
from gpucnn.cli.claim_record import quantities
from gpucnn.cli.reproduce import spread

RESULTS = Path(__file__).parent / "results" / "claims"
NOT_YET = "not run yet"


def records(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Of each claim, in the order of CLAIMS, its result on each device where it was run to its end, and not quickly."""
    files = (folder / f"{name}{device}.json" for name in CLAIMS for device in ("", "-cuda"))
    found = [json.loads(file.read_text()) for file in files if file.exists()]
    return [record for record in found if record["verdict"]]


def claims() -> str:
    """A row a claim and device: what is claimed, by whom, and the verdict."""
    rows = ["| claim | what is claimed | by | verdict | device |", "|---|---|---|---|---|"]
    found = records()
    for record in found:
        link = f"[{record['claim']}](#{record['claim']})"
        cells = [link, record["says"], record["by"], record["verdict"], _where(record)]
        rows.append(f"| {' | '.join(cells)} |")
    missing = CLAIMS.keys() - {record["claim"] for record in found}
    rows += [
        f"| {name} | {CLAIMS[name].says} | {CLAIMS[name].by} | {NOT_YET} | |" for name in CLAIMS if name in missing
    ]
    return "\n".join(rows)


def claims_count() -> str:
    """How many there are, and what became of them."""
    verdicts = [record["verdict"] for record in records()]
    counts = {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)}
    return (
        f"Of {len(CLAIMS)} claims: {', '.join(f'{count} {verdict}' for verdict, count in counts.items()) or NOT_YET}."
    )


def claims_runs() -> str:
    """Of each claim the budget, a table of what its variants came to, and which criteria hold."""
    parts = []
    for record in records():
        runs, defined = record["runs"], record["definition"]
        columns = quantities(runs)
        names = dict.fromkeys(run["variant"] for run in runs)
        rows = [f"| | {' | '.join(what.replace('_', ' ') for what in columns)} |", "|---" * (len(columns) + 1) + "|"]
        for name in names:
            cells = [spread(what, [run[what] for run in runs if run["variant"] == name]) for what in columns]
            rows.append(f"| {name} | {' | '.join(cells)} |")
        seeds, first = defined["seeds"], runs[0]
        budget = (
            f"Each: `gpucnn train {defined['flags']}`, {first['epochs']} epochs of {first['images']:,} images, "
            f"{first['test_images']:,} test images, {seeds} seed{'s' * (seeds > 1)}; on {_where(record)}, "
            f"{record['environment']['cpu']}."
        )
        judged = [f"- {'yes' if each['holds'] else 'no'}: {each['criterion']}" for each in record["criteria"]]
        head = f"### {record['claim']}\n\n{record['says']}\n\n{budget}\n"
        parts.append("\n".join([head, *rows, "", *judged, "", f"**{record['verdict']}**"]))
    return "\n\n".join(parts) or NOT_YET


def _where(record: dict[str, Any]) -> str:
    return f"{record['device']}, kernels {record['kernels']['conv2d']}"
