"""The next batch of an epoch in CUDA C: the launch of deal.cu. Shapes as in deal_xp.py.

Arrays are C-contiguous. ValueError where shapes do not go together, TypeError for another dtype, NotImplementedError
where int32 cannot count the elements.
"""

from .arrays import Array
from .launch import CudaC
from .shapes import countable, expect, result

kernels = CudaC("deal")


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
    """Batch number position - first, which must lie in the epoch: nobody looks."""
    k = words.shape[1]
    countable((len(samples), k))
    expect("words", words, (len(samples), k))
    expect("y", y, samples.shape)
    expect("position", position, ())
    expect("first", first, ())
    to_samples, to_words, to_y, rate, following = out or (None,) * 5
    to_samples = result("out[0]", samples, (n,), to_samples)
    to_words = result("out[1]", words, (n, k), to_words)
    to_y = result("out[2]", y, (n,), to_y)
    rate, following = result("out[3]", rates, (), rate), result("out[4]", position, (), following)
    arguments = samples, words, y, rates, position, first, to_samples, to_words, to_y, rate, following, n, k
    kernels.launch("deal_forward", (1,), (256,), arguments)
    return to_samples, to_words, to_y, rate, following
