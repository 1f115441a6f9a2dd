"""The next batch of an epoch, from the device's memory: the reference, on the array module of its arguments.

    samples (m,) int32, words (m, k) uint32, y (m,) int32      of the whole epoch, in its order; k may be 0
    rates (steps,), position (), first () int32                learning rates; how many batches were dealt, in all and
                                                               before this epoch
    -> samples (n,), words (n, k), y (n,), rate (), position () + 1

A step of training that begins with this op takes nothing from the host, so that it can be repeated as it is.
"""

from .arrays import Array, namespace


def forward(
    samples: Array,
    words: Array,
    y: Array,
    rates: Array,
    position: Array,
    first: Array,
    n: int,
    out: tuple | None = None,
    workspace=None,
) -> tuple[Array, Array, Array, Array, Array]:
    """Batch number position - first of n examples; out[4] may be `position` itself, to change it in place."""
    step = int(position) - int(first)
    xp, places = namespace(samples), slice(step * n, (step + 1) * n)
    rate, following = xp.asarray(rates[step]), xp.asarray(position + 1, "int32")
    dealt = samples[places], words[places], y[places], rate, following
    if out is None:
        return dealt
    for value, place in zip(dealt, out, strict=True):
        place[...] = value
    return out
