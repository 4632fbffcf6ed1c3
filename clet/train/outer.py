"""What may stand around a worker's own steps: an outer optimiser that exchanges weights with other workers.

The loop knows this protocol only; one worker alone trains without it. `before_step` runs with the weights that the
step will start from, `after_step` with those that it left behind; both may change the model's parameters in place
(under `torch.no_grad()`), and neither may wait for another worker. What the exchange has to remember is saved and
restored together with the weights, so that a killed worker comes back as it was at its last saved state.

A refusal is an exception of `clet.exits`: `Unavailable` (69) and `TryLater` (75) end the command after the state was
saved. Transient trouble is the implementation's own business: retry later, go on with local steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from clet.model.decoder import Decoder


class Outer(Protocol):
    """An outer optimiser, seen from the loop. Called from one thread."""

    def start(self, model: Decoder, step: int) -> None:
        """Join before the first step of an invocation, after `load_state` if there was a saved one.

        `step` is the number of steps done. May replace the weights by the group's.
        """

    def before_step(self, model: Decoder, step: int) -> None:
        """Called before step `step` (1 is the first) is computed."""

    def after_step(self, model: Decoder, step: int, tokens: int) -> dict[str, Any]:
        """Called when step `step` was applied; `tokens` is what it learned from (padding not counted).

        Returns fields for the step's line in `steps.jsonl` (`{}` for none), for example the version merged.
        """

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What to save: JSON values, and tensors by name (written as safetensors; none may share memory)."""

    def load_state(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Restore what `state` gave; also called in mid-run when the breaker rolls back."""

    def close(self) -> None:
        """Leave: send what is still owed if that is quick. The state was saved before; never raises."""
