"""How surprised a model is by each document of a batch, in bits a token: what prioritisation selects by with a model.

Documents are scored as `clet.evaluate.perplexity` scores held-out text: each alone, many to a window. Cost: a forward
pass over the tokens.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from clet.batch import Batch
from clet.evaluate.perplexity import DEFAULT_SEQ_LEN, Piece, score
from clet.exits import InputError
from clet.model.checkpoint import load_model
from clet.release import find_model
from clet.tokens import Tokenizer


class LossOf:
    """A model, or the live release of a run, and its tokenizer."""

    def __init__(self, path: str):
        directory = find_model(path)
        self._model = load_model(directory)
        self._model.eval()
        self._tokenizer = Tokenizer.load(directory)
        self._seq_len = min(DEFAULT_SEQ_LEN, self._model.config.max_positions)
        torch.set_grad_enabled(False)

    def bits(self, batch: Batch) -> np.ndarray:
        """Bits a token `[n]` of each record; 0 for one of a single token. Raises InputError for other tokens."""
        if batch.tok is None or batch.fingerprint != self._tokenizer.fingerprint:
            raise InputError(f"records without tokens of the model's tokenizer; ingest with {self._tokenizer.path}")
        if batch.num_tokens and int(batch.tok.values.max()) >= self._model.config.vocab_size:
            raise InputError("an id is outside the model's vocabulary; the records are damaged")
        step = self._seq_len - 1
        pieces = [
            Piece(ids[start : start + self._seq_len], str(row), 0, start == 0)
            for row, ids in enumerate(batch.tok[row] for row in range(len(batch)))
            for start in range(0, max(1, len(ids) - 1), step)
            if len(ids[start : start + self._seq_len]) > 1
        ]
        found = score(self._model, pieces, self._seq_len).by_source
        nats = [found[str(row)].nll / max(1, found[str(row)].tokens) for row in range(len(batch))]
        return np.array(nats) / math.log(2)
