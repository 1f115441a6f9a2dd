"""Mistakes that compute without complaint and train badly or not at all, found in the first step and the first epoch.

That a parameter gets no gradient is found by the optimizer's first step, which names it.
"""

import logging
import math
from collections.abc import Sequence

from .autograd import Function
from .errors import GpucnnError
from .functional.activation import Softmax
from .functional.loss import CrossEntropy
from .tensor import Reshape

log = logging.getLogger("gpucnn.lint")  # who wants to see it adds a handler

_CHANCE = 0.99  # of the loss of guessing
_STEPS = 100  # an epoch of fewer proves nothing


def check(functions: Sequence[Function]) -> None:
    """Look at the tape of a loss, before it runs backward.

    GpucnnError where the tape is empty: no parameter has a part in the loss. A softmax in front of the loss is only
    warned of: such a model learns, slowly.
    """
    if not functions:
        hint = "between the images and the logits, look for detach(), numpy(), Tensor(...) and no_grad"
        raise GpucnnError("the loss does not depend on any parameter", hint)
    for function in functions:
        if isinstance(function, CrossEntropy) and isinstance(_what_made(function.inputs[0]), Softmax):
            log.warning("the model ends in a softmax, and cross_entropy has one inside: let it give logits")


def _what_made(x: object) -> Function | None:
    """The Function whose result x is, under whatever shape."""
    function: Function | None = x.function  # type: ignore[attr-defined]
    return _what_made(function.inputs[0]) if isinstance(function, Reshape) else function


def at_chance(loss: float, accuracy: float, classes: int, steps: int) -> list[tuple[str, str]]:
    """(what is wrong, what to do) where an epoch of so many steps left loss and accuracy at those of guessing."""
    chance = math.log(classes)
    if loss < _CHANCE * chance or accuracy > 1.5 / classes or steps < _STEPS:
        return []
    what = f"after an epoch the loss is {loss:.3f}, and guessing among {classes} classes gives {chance:.3f}"
    return [(what, "another --lr, ten times smaller or larger; then look at the labels")]
