"""What `clet train` measures its model by: held-out files and canaries, at releases in full and at checks in part.

The trainer knows nothing of files and tokenizers; it gets functions of a model. Texts of a check are read and tokenised
once, at most CHECK_TOKENS tokens of each file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clet.evaluate.canaries import Canary
    from clet.evaluate.gates import Gate
    from clet.evaluate.perplexity import Piece
    from clet.model.decoder import Decoder
    from clet.train.drift import Check

CHECK_TOKENS = 32_768


class Judges:
    """`evaluate`, `check` and `gates` of the trainer's surroundings; each is None where there is nothing to measure."""

    def __init__(self, source: Path, held_out: Sequence[str], canaries: str | None, gates: Sequence[Gate], run: Path):
        self._held_out, self._gates, self._run = held_out, gates, run
        self._pieces: dict[str, list[Piece]] = {}
        self._canaries: list[Canary] = []
        self._live: tuple[Path, dict[str, float]] | None = None
        self.evaluate = self._evaluate if held_out else None
        self.check = self._check if held_out or canaries else None
        self.gates = self._judge if gates else None
        if held_out or canaries:
            from clet.evaluate.canaries import read_canaries
            from clet.evaluate.perplexity import DEFAULT_SEQ_LEN
            from clet.model.checkpoint import read_config
            from clet.tokens import Tokenizer

            self._tokenizer = Tokenizer.load(source)
            positions = read_config(source).max_positions
            self._seq_len = min(DEFAULT_SEQ_LEN, positions)
            self._pieces = {name: list(self._some_pieces(name)) for name in held_out}
            if canaries:
                self._canaries = read_canaries(canaries, self._tokenizer, positions)

    def _evaluate(self, model: Decoder) -> dict[str, Any]:
        from clet.evaluate.perplexity import evaluate_files

        return {name: evaluate_files(model, [name], self._tokenizer).to_json() for name in self._held_out}

    def _check(self, model: Decoder) -> Check:
        from clet.evaluate.canaries import check_canaries
        from clet.evaluate.perplexity import score
        from clet.train.drift import Check

        held_out = {}
        for name in self._held_out:
            total = score(model, self._pieces[name], self._seq_len).total
            held_out[name] = total.nll / total.tokens if total.tokens else math.nan
        return Check(held_out, check_canaries(model, self._canaries))

    def _some_pieces(self, name: str) -> Iterator[Piece]:
        from clet.evaluate.perplexity import pieces_of
        from clet.exits import UsageError

        room = CHECK_TOKENS
        for piece in pieces_of(name, self._tokenizer, self._seq_len):
            yield piece
            room -= len(piece.ids)
            if room <= 0:
                return
        if room == CHECK_TOKENS:
            raise UsageError(f"--held-out {name}: no document of two tokens or more")

    def _judge(self, evals: dict[str, Any], check: Check | None) -> list[dict[str, Any]]:
        from clet.evaluate.gates import Measured, judge

        share = None
        if check is not None and check.canaries:
            share = sum(holds for _, holds in check.canaries.values()) / len(check.canaries)
        return judge(self._gates, Measured(evals, self._live_losses(), share))

    def _live_losses(self) -> dict[str, float] | None:
        """The live release's loss on each held-out file; None where nothing is live, or nobody asks."""
        from clet.model.checkpoint import load_model
        from clet.release import find_release, tier_number

        number = tier_number(self._run, "live")
        if number is None or not any(gate.measure == "forgetting" for gate in self._gates):
            return None
        path = find_release(self._run, number).path
        if self._live is None or self._live[0] != path:
            found = self._evaluate(load_model(path))
            self._live = (path, {name: each["nll"] for name, each in found.items()})
        return self._live[1]
