"""From a model directory to the flat vector that is synchronised, and back.

The vector holds the parameters that training changes, in float32 whatever type the files have (updates of a
thousandth are lost in bfloat16). torch is needed here only; the server's arithmetic is numpy's.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clet.exits import UsageError
from clet.sync.protocol import Identity, Layout
from clet.tokens import Tokenizer

if TYPE_CHECKING:
    from clet.model.decoder import Decoder


def layout_of(model: Decoder) -> Layout:
    """The layout of a model's parameters; tied ones count once. Raises UsageError where only adapters are trained."""
    if not all(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError("a sync-server exchanges whole weights; leave out --sync, or train without --lora")
    return Layout.of({name: tuple(parameter.shape) for name, parameter in model.named_parameters()})


def identity_of(model: Decoder, tokenizer: str) -> Identity:
    """The identity of `model` with a tokenizer of that fingerprint."""
    return Identity.of(asdict(model.config), tokenizer, layout_of(model))


def read_parameters(model: Decoder, layout: Layout) -> np.ndarray:
    """A new float32 vector [layout.size] of the model's parameters."""
    import torch

    with torch.no_grad():
        return layout.flatten(
            {name: p.detach().to("cpu", torch.float32).numpy() for name, p in model.named_parameters()}
        )


def write_parameters(model: Decoder, layout: Layout, vector: np.ndarray) -> None:
    """Copy `vector` [layout.size] into the model's parameters, in place, in their own type and device."""
    import torch

    views = layout.views(vector)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # torch has no read-only tensors and warns about read-only arrays; it only reads here.
            view = views[name] if views[name].flags.writeable else views[name].copy()
            parameter.copy_(torch.from_numpy(view))


class ModelDirectory:
    """A model directory as the server sees it: what it starts from, and how it gives versions back to people."""

    def __init__(self, directory: str | Path) -> None:
        from clet.model.checkpoint import load_model

        self.directory = Path(directory)
        self._model = load_model(directory)
        self.layout = layout_of(self._model)
        self.identity = identity_of(self._model, Tokenizer.load(directory).fingerprint)

    def weights(self) -> np.ndarray:
        """The weights in the directory, as a vector."""
        return read_parameters(self._model, self.layout)

    def export(self, vector: np.ndarray, directory: Path) -> None:
        """Write `vector` as a Hugging Face directory in float32, the weights file replaced whole. WriteError."""
        from clet.model.checkpoint import save_model

        write_parameters(self._model, self.layout, vector)
        save_model(self._model, directory, source_dir=self.directory)
