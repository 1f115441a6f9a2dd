"""The clocks of gpucnn_kernels.clock, for PyTorch, too.

CuPy's events time both: they queue their work, and launch their graphs, in the legacy default stream.
"""

from collections.abc import Sequence

from gpucnn_kernels import clock
from gpucnn_kernels.clock import Call, Replay


class Cpu(clock.Cpu):
    theirs = clock.Cpu.ours


class Gpu(clock.Gpu):
    def theirs(self, calls: Sequence[Call]) -> Replay:
        """As `ours`, with calls of PyTorch."""
        import torch

        with torch.cuda.stream(torch.cuda.Stream()):
            for call in calls:
                call()
        self.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results = [call() for call in calls]
        return Replay(graph.replay, len(calls), True, results)
