"""Memory terms: what is added to the loss so that what was learned before stays.

There are two places for one. A term that is known in closed form from the weights (elastic weight consolidation,
Kirkpatrick et al. 2017, arXiv:1612.00796; distance to the start) adds its gradient to that of the batch, here, before
the gradient is measured and clipped; what it remembers of a parameter (an anchor, an importance) are tensors in slots
beside the optimizer's moments, saved, restored and rolled back with them. A term that needs the forward pass (a
divergence from the last release, the router's balance) is a function of the model in `clet.train.step.TERMS`. Neither
touches the loop.

To add one of the first kind: a function here, and a line in `MEMORIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor, nn

Remembered = Iterator[tuple[nn.Parameter, dict[str, Tensor]]]  # each parameter, and what is kept of it
Memory = Callable[[Remembered], None]  # adds to the parameters' gradients; called without autograd


def none(parameters: Remembered) -> None:
    """Nothing is added; replay is all that keeps the past."""


MEMORIES: dict[str, Memory] = {"none": none}
