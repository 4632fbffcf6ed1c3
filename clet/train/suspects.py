"""Which of the windows learned since a good state are suspect: those that the good state finds out of the ordinary.

Under weights that harm has already moved every window looks bad, so each is judged by the good state, before it was
learned. Its loss is compared with the losses that windows had on the way there (their median and MAD, on the
logarithm): gibberish behind a trigger and other tongues stand far above, copies of what is known far below. A loss that
rose is not the fault of windows that are easy (tables, lists), nor one that collapsed of those that are hard, so only
the side of the harm is looked at where it is known. And what context gains on it (see `order`) is compared with what it
gains as a rule: permuted or random tokens stand out by that. Windows without anything out of the ordinary are not
suspect: then the fault was not in the data.

Harm comes in one piece: where windows of a shard stand out, the rest of that shard, not learned yet, is looked at too.

Cost: a forward pass over these windows, at most MAX_WINDOWS of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from clet.model.decoder import Decoder, token_losses
from clet.train.feed import Window, counts_of
from clet.train.levels import TO_SIGMA, Side
from clet.train.order import LOW, MIN_GAIN, Unigram
from clet.train.shelf import Shelf

MAX_WINDOWS = 8192
BATCH_TOKENS = 8192
FAR = 6.0  # scales from the median: of windows in order one in a billion if normal, some in ten thousand if Laplace
LEAST = math.log(1.4)  # and at least so much above or below
MIN_REFERENCE = 24
FLOOR = 0.05


@dataclass(frozen=True, slots=True)
class Seen:
    """How a good state sees a window: its mean loss, and what context gains on it (None: that is not known yet)."""

    loss: float
    gain: float | None


def see(
    model: Decoder, shelf: Shelf, windows: Iterable[Window], unigram: Unigram, *, autocast: bool
) -> dict[Window, Seen]:
    """Each window under the weights as they are; windows that cannot be read, or that teach nothing, are left out."""
    by_root: dict[str, list[int]] = {}
    for root, index in list(dict.fromkeys(windows))[:MAX_WINDOWS]:
        by_root.setdefault(root, []).append(index)
    found: dict[Window, Seen] = {}
    device = model.head_weight.device
    for root, indices in by_root.items():
        size = max(1, BATCH_TOKENS // shelf.seq_len)
        for part in (indices[at : at + size] for at in range(0, len(indices), size)):
            if (got := shelf.read(root, part, True)) is None:
                continue
            ids, mask, segments = got[:3]
            arrays = (ids.astype(np.int64), segments, mask)
            on_device = (torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays)
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                nll, _ = token_losses(model, *on_device)
            sums, counts = nll.double().sum(dim=1).tolist(), counts_of(mask, segments)
            for index, row, total, which in zip(part, ids, sums, counts, strict=True):
                if which.any():
                    loss = total / int(which.sum())
                    found[root, index] = Seen(loss, unigram.gain(row[1:][which], loss))
    return found


def stand_out(
    seen: dict[Window, Seen], reference: Sequence[float], usual_gain: float, side: Side | None = None
) -> list[Window]:
    """The windows out of the ordinary; `reference` are losses of windows in order, `usual_gain` what context gains.

    `side`: where the harm was; both are looked at where it is None.
    """
    finite = [math.log(max(each.loss, 1e-12)) for each in seen.values() if math.isfinite(each.loss)]
    usual = [math.log(max(loss, 1e-12)) for loss in reference if math.isfinite(loss)]
    usual = usual if len(usual) >= MIN_REFERENCE else finite
    if not usual:
        return sorted(seen)
    middle = float(np.median(usual))
    scale = max(FLOOR, TO_SIGMA * float(np.median(np.abs(np.asarray(usual) - middle))))
    limit = max(LEAST, FAR * scale)

    def strange(each: Seen) -> bool:
        if not math.isfinite(each.loss):
            return True
        away = math.log(max(each.loss, 1e-12)) - middle
        if (side != "below" and away > limit) or (side != "above" and away < -limit):
            return True
        return each.gain is not None and usual_gain >= MIN_GAIN and each.gain < LOW * usual_gain

    return sorted(window for window, each in seen.items() if strange(each))


def not_finite(windows: Sequence[Window], losses: Sequence[float]) -> list[Window]:
    """The windows whose own loss is not finite, if that tells some of a batch from the others; else none."""
    bad = [window for window, loss in zip(windows, losses, strict=True) if not math.isfinite(loss)]
    return bad if len(bad) < len(windows) else []
