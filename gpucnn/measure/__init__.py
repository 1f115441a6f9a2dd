"""Where the time of a training step goes, seen by whatever is there to see it.

timers.py     clocks around every range: CUDA events on a GPU, the time of day on the CPU
nsys.py       NVIDIA's Nsight Systems, and its reports as CSV
accesses.py   the simulator, which has no times, but counts accesses
slices.py     what all of them see, as rows of a table: layer, kernel, time, and how far from the roofs
trace.py      the same as a picture of time, for Perfetto
"""
