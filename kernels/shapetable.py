"""The shapes that every implementation of an op is tried on: each row goes to the op's builder in cases.py.

What a row is there for is said beside it. The last rows of an op are long and thin: there each index, count and label
in turn is beyond 16 bits, so that a narrower type in a kernel shows.
"""

import numpy as np

ONE, NONE = (1, 1), (0, 0)
LONG = 70001  # 2**16 and some
DRAWN = -1.0  # for a probability that is the first draw itself, which keeps its element

SPECIAL = 0.5, -0.5, np.nan, np.inf, -np.inf  # few enough for ties in every window

POOLS = [
    (2, 3, 8, 8, (2, 2), (2, 2), NONE),
    (1, 1, 1, 1, ONE, ONE, NONE),
    (2, 2, 7, 6, (3, 3), (2, 2), ONE),  # overlap
    (1, 3, 9, 11, (2, 3), (3, 2), (1, 0)),  # gaps between the windows
    (3, 1, 6, 5, (3, 2), ONE, ONE),
    (1, 2, 5, 9, (5, 9), ONE, (2, 4)),
    (2, 5, 13, 17, (2, 2), (2, 2), NONE),  # rows left over
    (1, 2, 17, 15, (17, 15), ONE, NONE),  # 255 places, as many as a byte can name
    (16, 2, 5, 6, (2, 2), (2, 2), NONE),  # from here on, whole and partly filled lines of 16 images
    (17, 3, 6, 5, (3, 3), (2, 2), ONE),
    (33, 1, 4, 7, (2, 3), (1, 2), (1, 1)),
    (128, 4, 9, 8, (2, 2), (2, 2), NONE),
]

LONG_POOLS = [
    (1, 1, 1, LONG, (1, 2), ONE, (0, 1)),
    (1, 1, LONG, 1, (2, 1), ONE, (1, 0)),
    (1, LONG, 1, 1, ONE, ONE, NONE),
]

SHAPES: dict[str, list[tuple]] = {
    "conv2d": [
        (1, 16, 4, 5, 16, (3, 3), (1, 1), (1, 1), True),  # large enough for Winograd from here on
        (3, 17, 9, 11, 21, (3, 3), (1, 1), (1, 1), True),
        (17, 16, 6, 6, 18, (3, 3), (1, 1), (0, 0), False),
        (2, 3, 9, 8, 6, (5, 5), ONE, NONE, True),
        (1, 1, 1, 1, 1, ONE, ONE, NONE, True),
        (3, 5, 6, 9, 17, (2, 3), (2, 1), (1, 0), True),
        (2, 16, 7, 5, 10, (3, 3), ONE, ONE, False),
        (2, 3, 5, 4, 7, (5, 4), ONE, NONE, True),  # one window an image
        (1, 2, 9, 11, 3, (2, 1), (3, 2), NONE, True),  # inputs that no window reads
        (1, 2, 3, 4, 5, (2, 2), ONE, (2, 3), True),  # windows of padding alone
        (1, 4, 9, 9, 65, (3, 3), ONE, ONE, True),
        (2, 8, 8, 8, 64, ONE, ONE, NONE, True),
        (5, 3, 12, 12, 33, (3, 3), (2, 2), ONE, True),
        (2, 3, 7, 8, 5, (3, 2), (3, 3), ONE, True),  # neither stride divides its length
        (9, 2, 20, 20, 4, (3, 3), ONE, NONE, True),  # many pixels for each weight
        (2, 6, 14, 14, 16, (5, 5), ONE, NONE, True),
        (1, 32, 8, 8, 130, (3, 3), ONE, ONE, True),
        (1, 66, 5, 6, 3, (3, 3), (1, 2), ONE, True),  # the widest tiles of input channels
        (2, 3, 7, 8, 5, (3, 3), (2, 3), ONE, True),  # a last row and column that fewer windows start at
        (4, 3, 16, 16, 6, (3, 3), ONE, ONE, True),  # exactly two blocks of pixels
        (2, 1, 4, 33, 2, (2, 2), ONE, NONE, True),  # 3 x 32 pixels, two whole tiles of 16
        (2, 2, 33, 4, 3, (2, 2), ONE, NONE, True),  # 32 x 3
        (1, 260, 1, 2, 261, ONE, ONE, NONE, True),  # as many weights
        (1, 1, 1, LONG, 1, ONE, ONE, NONE, True),  # hundreds of splits of the pixels, longer than the shortest
        (1, 1, LONG, 1, 1, (3, 1), ONE, (1, 0), True),
        (LONG, 1, 1, 1, 1, ONE, ONE, NONE, True),
    ],
    "conv2d_relu_maxpool": [
        (3, 3, 9, 8, 6, (5, 5), ONE, NONE, (2, 2), True),  # a row left over
        (1, 1, 1, 1, 1, ONE, ONE, NONE, ONE, False),
        (3, 5, 6, 9, 17, (2, 3), (2, 1), (1, 0), ONE, True),
        (1, 16, 7, 5, 10, (3, 3), ONE, ONE, (2, 2), False),
        (17, 3, 16, 16, 6, (5, 5), ONE, NONE, (2, 2), True),
        (17, 6, 14, 14, 16, (5, 5), ONE, NONE, (2, 2), True),
        (3, 33, 8, 8, 34, (3, 3), ONE, ONE, (2, 2), True),
        (17, 32, 5, 7, 33, (3, 3), ONE, ONE, ONE, False),
        (3, 2, 12, 12, 7, (3, 3), (2, 2), ONE, (2, 2), True),
        (3, 4, 10, 7, 5, (3, 3), ONE, ONE, (3, 2), True),
        (1, 2, 3, 4, 5, (2, 2), ONE, (2, 3), ONE, True),  # windows of padding alone
        (1, 1, 1, LONG, 1, ONE, ONE, NONE, ONE, False),
        (1, 1, LONG // 2, 2, 1, ONE, ONE, NONE, (2, 2), False),
        (LONG, 1, 1, 1, 1, ONE, ONE, NONE, ONE, False),
    ],
    "maxpool2d": [
        *POOLS,
        (2, 3, 7, 6, (3, 3), (2, 2), ONE, SPECIAL),
        (2, 2, 9, 8, (2, 2), (2, 2), NONE, SPECIAL),
        (1, 2, 4, 5, (3, 3), (2, 2), ONE, (-np.inf,)),  # no larger than the padding
        *LONG_POOLS,
    ],
    "avgpool2d": [*POOLS, *LONG_POOLS],
    "globalavgpool2d": [
        (2, 3, 7, 7),
        (1, 1, 1, 1),
        (3, 2, 1, 33),
        (2, 65, 4, 4),
        (1, 3, 32, 32),
        (5, 1, 5, 129),
        (16, 3, 4, 5),
        (33, 2, 3, 3),
        (128, 5, 2, 2),
        (1, 1, 1, LONG),
        (1, 1, LONG, 1),
        (2, LONG, 1, 1),
    ],
    "cross_entropy": [
        (1, 1, 0.0, 1),
        (1, 2, 0.0, 8),
        (7, 10, 0.1, 8),
        (33, 33, 0.0, 80),
        (300, 10, 0.0, 4),
        (16, 10, 0.1, 8),
        (17, 3, 0.0, 8),
        (128, 10, 0.0, 8),
        (5, 1000, 0.1, 8),
        (4, 200, 0.0, 200),  # no float32 is exp of such a logit
        (2100, 3, 0.1, 4),
        (300, 130, 0.1, 4),  # several blocks of CUDA C, the last one of few rows
        (6, 40, 0.0, 8, (-np.inf,)),
        (33, 3, 0.0, 1, SPECIAL),  # ties and NaN
        (1025, 2, 0.1, 1, SPECIAL),
        (3, LONG, 0.1, 1),
        (LONG, 2, 0.0, 2.0**-7),
    ],
    "batch_norm": [
        ((4, 3),),
        ((2, 3, 5, 4), 1.0),
        ((17, 5, 3, 3), 0.5),
        ((16, 2, 7), 0.1, 1e-2),
        ((33, 1, 6, 7),),
        ((1, 2, 1, 9),),
        ((2, 65, 2, 2), 0.1, 0.1),
        ((5, 1, 1000),),  # two parts of a channel
        ((128, 4, 9, 8),),
        ((3, 1, 47, 47),),  # a last part that is shorter
        ((LONG, 1),),
        ((1, 1, LONG),),
    ],
    "dropout": [
        ((3, 7), 0.5, 0, 16, 0, False),
        ((2, 3, 5, 4), 0.25, 2**40 + 7, 17, 3, False),
        ((5, 6, 3, 2), 0.4, 2**63 + 1, 65552, 199, True),
        ((1, 1), 1.0, 5, 16, 1, False),
        ((4, 1030), 0.9, 12345, 18, 2, False),
        ((2, 5, 7, 6), 0.5, 1, 16, 0, True),
        ((16, 5), 0.5, 2, 17, 1, False),
        ((17, 3, 3, 2), 0.3, 2, 17, 1, True),
        ((128, 70), 0.5, 2, 17, 1, False),
        ((3, 9), DRAWN, 7, 16, 0, False),
        ((2, 5, 3, 2), DRAWN, 7, 16, 0, True),
        ((9, 30), 0.5, 2**64 - 1, 2**16 + 17, 2**32 - 1, False, True),
        ((9, 30, 2, 1), 0.5, 2**32 + 1, 17, 300, True, True),
        ((1, 4 * LONG), 0.5, 3, 16, 300, False),
        ((LONG, 1), 0.5, 3, 16, 2**16, False),
        ((1, 4 * LONG, 1), 0.5, 3, 16, 0, True),
        ((LONG, 1, 1), 0.5, 3, 16, 0, True),
        ((1, 2, LONG), 0.5, 3, 16, 0, True),
    ],
    "deal": [(1, 1, 4, 0), (40, 16, 4, 1), (700, 300, 4, 1), (9, 2, 0, 3), (LONG + 5, 1, 4, LONG + 1)],
    "augment": [
        (7, 5, 3, 10, 13),
        (40, 33, 3, 32, 32, True, True, True),
        (5, 9, 2, 9, 14, True, True, True),
        (4, 9, 5, 14, 9, True, False, True),
        (3, 16, 1, 8, 8, True),
        (3, 17, 2, 5, 6, False, True),
        (3, 9, 1, 3, 20, False, False, True),  # the square is larger than the picture
        (1, 2, 1, 1, 1, True, True, True),
        (LONG, LONG, 1, 1, 1, True),
        (2, 1, 1, 1, LONG, False, True, True),
        (2, 1, 1, LONG, 1, True),
    ],
    "sgd": [
        (1, 0.0, 0.0, False),
        (1000, 0.9, 0.0, False),
        (333, 0.9, 5e-4, False),
        (4099, 0.9, 0.1, True),
        (2 * LONG, 0.9, 0.1, False),  # on threads, with a last block that is not whole
    ],
    "adam": [
        (1, 1, (0.9, 0.999), 0.0, False),
        (1000, 10, (0.9, 0.999), 0.1, False),
        (333, 1000, (0.5, 0.9), 0.1, True),
        (2 * LONG, 2, (0.9, 0.999), 0.1, True),
    ],
    "clip": [
        (1, 0.25),
        (7, 100.0),  # of a smaller norm: nothing changes
        (255, 0.5),
        (1000, 1.0),
        (7, 2.0**-20, 2.0**-20),  # of a norm so small that what is added to it counts
        (256 * 256 + 300, 2.0),  # a second round of the threads that sum
        (LONG, 1.0),
    ],
    "linear": [
        (1, 1, 1, True),
        (3, 5, 4, False),
        (2, 400, 120, True),
        (128, 84, 10, True),
        (17, 65, 33, True),
        (64, 64, 64, True),
        (65, 33, 129, False),
        (16, 130, 50, True),
        (33, 300, 7, True),
        (128, 400, 120, True),
        (9, 2048, 10, True),
        (300, 7, 3, True),
        (LONG, 1, 1, True),
        (1, LONG, 1, True),
        (1, 1, LONG, True),
    ],
    "relu": [
        ((3, 7),),
        ((1,),),
        ((5,), SPECIAL),
        ((2, 3, 5, 4), SPECIAL),
        ((16, 3, 2, 1),),
        ((17, 4, 3, 5), SPECIAL),
        ((33, 300),),
        ((128, 120),),
        ((LONG, 1),),
        ((1, LONG),),
    ],
}
