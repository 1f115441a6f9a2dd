"""The machinery of the fast CPU path: one lane of a vector, one image.

    layout.py       arrays with the images innermost: LINE of them fill a cache line, and every loop runs over lines
    memory.py       the pool that those arrays come from and go back to, so that a training step allocates nothing
    target.py       what this CPU has: the width of its vectors, and how many of them a register tile takes
    compiled.py     Numba's compiler with a cache on disk, threads, and a word while it works
    prepare.py      compiling ahead, on all cores
    simd.py         vectors as values in Numba's Python
    bits.py         exp, Philox and transposing, which look at the bits of vectors
    tiles.py        the two register tiles that all matrix products and convolutions are made of
    windows.py      which places of windows lie on the input
    direct.py       convolution of any shape, tile by tile
    winograd.py     3x3 convolution with a quarter of the multiplications
    winograd_maps.py  images to its points and back, by the matrices of points.py; filters.py does so with weights
    winograd_rows.py  convolution with windows 5 wide and two fifths of them: of rows of images in rows.py
    convolution.py  which of the three ways a call takes, and the memory it needs there

The ops themselves are the files <op>_cpu.py one folder up.
"""
