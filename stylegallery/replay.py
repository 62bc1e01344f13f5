"""A function of tensors that stay in place, replayed as a CUDA graph: a GPU then waits for Python no more.

One `torch.cuda.graph` has all of it. `torch.cuda.make_graphed_callables` captures forward and backward apart and leaves
the optimiser to Python; `torch.compile(mode="reduce-overhead")` first compiles the network, for minutes, into kernels
that round differently, and once more wherever functions of this project stand in for its attention.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

import torch

from stylegallery.errors import first_line
from stylegallery.files import notice

WARM_UPS = 3  # calls before the capture, as PyTorch advises: libraries and the optimiser make what they keep

Result = TypeVar("Result")  # tensors, or nothing


class Replayed(Generic[Result]):
    """Calls a function; from the call after the third on, its kernels are replayed without it.

    What the function reads and writes are tensors that stay where they are: of everything else, such as numbers and
    branches, a replay has what the capture saw. It neither asks for values of the GPU nor copies from the CPU's memory.
    Where it cannot be captured, or memory does not suffice for that, it is called as before, and a sentence says so.
    """

    def __init__(self, function: Callable[[], Result], device: torch.device) -> None:
        self.function, self.device, self.calls = function, device, 0
        self.stream = torch.cuda.Stream(device)  # a capture cannot be on the default one
        self.graph: torch.cuda.CUDAGraph | None = None
        self.result: Result

    def __call__(self) -> Result:
        """The function's result, which the next call overwrites."""
        self.calls += 1
        if self.calls == WARM_UPS + 1:
            self.graph = self.captured()
        if self.graph is not None:
            self.graph.replay()
            return self.result
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            result = self.function()
        torch.cuda.current_stream(self.device).wait_stream(self.stream)
        return result

    def captured(self) -> torch.cuda.CUDAGraph | None:
        """The graph of a call, which computes nothing yet; None where there can be none."""
        graph = torch.cuda.CUDAGraph()
        try:
            # Ours is the outer context because `torch.cuda.graph` stays on its stream where a capture fails.
            with torch.cuda.stream(self.stream), torch.cuda.graph(graph, stream=self.stream):
                self.result = self.function()
        except RuntimeError as error:
            notice(f"updates are not replayed as a CUDA graph, which is slower ({first_line(error)})")
            return None
        return graph
