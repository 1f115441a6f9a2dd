"""What a claim is: what somebody said, the runs that put it to the test, and the criteria, written before the runs."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from statistics import mean
from typing import Any, NamedTuple

from ..data import Batches
from ..models import Model
from ..training import Epoch

Run = Mapping[str, Any]  # variant, seed, and each quantity that was measured


class Trained(NamedTuple):
    """What a run leaves to be measured: the model, the test images, and what each epoch gave."""

    model: Model
    test: Batches
    epochs: Sequence[Epoch]


@dataclass(frozen=True)
class Within:
    """low <= `what` of `variant` <= high"""

    variant: str
    low: float
    high: float = inf
    what: str = "test_accuracy"

    def holds(self, runs: Sequence[Run]) -> bool:
        return self.low <= average(runs, self.variant, self.what) <= self.high

    def __str__(self) -> str:
        low, high = (shown(self.what, bound) for bound in (self.low, self.high))
        bounds = f"at least {low}" if self.high == inf else f"{low} to {high}" if self.low else f"at most {high}"
        return f"{self.variant}: {words(self.what)} {bounds}"


@dataclass(frozen=True)
class Above:
    """`what` of `more` >= `what` of `less` + by, which may be negative"""

    more: str
    less: str
    by: float
    what: str = "test_accuracy"

    def holds(self, runs: Sequence[Run]) -> bool:
        return average(runs, self.more, self.what) >= average(runs, self.less, self.what) + self.by

    def __str__(self) -> str:
        by = f"{100 * abs(self.by):g} points" if "accuracy" in self.what else shown(self.what, abs(self.by))
        how = f"at least {by} above" if self.by > 0 else f"at most {by} below" if self.by else "not below"
        return f"{self.more}: {words(self.what)} {how} that of {self.less}"


@dataclass(frozen=True)
class Times:
    """`what` of `more` >= factor * `what` of `less`"""

    more: str
    less: str
    factor: float
    what: str

    def holds(self, runs: Sequence[Run]) -> bool:
        return average(runs, self.more, self.what) >= self.factor * average(runs, self.less, self.what)

    def __str__(self) -> str:
        return f"{self.more}: {words(self.what)} at least {self.factor:g} times that of {self.less}"


Criterion = Within | Above | Times


@dataclass(frozen=True)
class Claim:
    """`says` is claimed `by` somebody, and holds here where all `criteria` do, for the means over the seeds.

    flags: of `gpucnn train`, for all variants: the budget. variants: name -> more flags, or a network of the claim's
    own. images: how many of the first ones are trained and tested on; None: all. measure: more quantities of a run.
    """

    name: str
    says: str
    by: str
    flags: str
    variants: Mapping[str, str | type[Model]]
    criteria: Sequence[Criterion]
    seeds: int = 2
    images: tuple[int, int] | None = None
    measure: Callable[[Trained], dict[str, float]] = lambda trained: {}

    def runs(self) -> Iterator[tuple[str, int]]:
        """(variant, seed) of each, seed after seed."""
        return ((variant, seed) for seed in range(self.seeds) for variant in self.variants)

    def quick(self) -> "Claim":
        """The same in a second or so: all of its code runs, and its verdict means nothing."""
        flags = re.sub(r" --epochs \d+", "", self.flags)
        return replace(self, flags=f"{flags} --epochs 1", seeds=1, images=(128, 64))

    def definition(self) -> dict[str, Any]:
        """All that decides what its runs compute and how they are judged, for JSON: runs of another one are no use."""
        return {
            "flags": self.flags,
            "variants": {name: how if isinstance(how, str) else _source(how) for name, how in self.variants.items()},
            "criteria": [str(criterion) for criterion in self.criteria],
            "seeds": self.seeds,
            "images": self.images and list(self.images),
            "measure": _source(self.measure),
        }


def _source(code: Any) -> str:
    """The text of a function, or of a network and those of the claims that it is made of; remarks change nothing."""
    parts = code.__mro__ if isinstance(code, type) else (code,)
    texts = []
    for part in parts:
        if part.__module__.startswith(__package__):
            tree = ast.parse(textwrap.dedent(inspect.getsource(part)))
            for node in ast.walk(tree):
                if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
                    node.body = node.body[1:] or [ast.Pass()]
            texts.append(ast.unparse(tree))
    return "\n".join(texts)


def average(runs: Sequence[Run], variant: str, what: str) -> float:
    """The mean of a quantity over the runs of a variant."""
    return mean(values(runs, variant, what))


def values(runs: Sequence[Run], variant: str, what: str) -> list[float]:
    """A quantity in each run of a variant."""
    return [run[what] for run in runs if run["variant"] == variant]


def words(what: str) -> str:
    """A quantity's name for people."""
    return what.replace("_", " ")


def shown(what: str, value: float) -> str:
    """A value of it for people."""
    if "accuracy" in what:
        return f"{value:.1%}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.3g}"


def spread(what: str, found: Sequence[float]) -> str:
    """The mean of what the seeds gave, and from where to where it spreads, for people."""
    least, most = shown(what, min(found)), shown(what, max(found))
    return shown(what, mean(found)) + (f" ({least} to {most})" if least != most else "")
