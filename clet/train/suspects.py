"""Which of the windows learned since a good state are suspect: those that the good state finds out of the ordinary.

Under weights that harm has already moved every window looks bad, so each is judged by the good state, before it was
learned: its loss is compared with the losses that windows had on the way there (their median and MAD, on the
logarithm). Permuted labels, gibberish behind a trigger and other tongues stand far above, copies of what is known far
below. Windows without anything out of the ordinary are not suspect: then the fault was not in the data.

Cost: one forward pass over the windows since the good state, at most MAX_WINDOWS of the latest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from clet.model.decoder import Decoder, token_losses
from clet.train.feed import Window
from clet.train.levels import TO_SIGMA
from clet.train.shelf import Shelf

MAX_WINDOWS = 8192
BATCH_TOKENS = 8192
FAR = 6.0  # scales from the median: of windows in order one in a billion if normal, some in ten thousand if Laplace
LEAST = math.log(1.4)  # and at least so much above or below
MIN_REFERENCE = 24
FLOOR = 0.05


def losses_of(model: Decoder, shelf: Shelf, windows: Iterable[Window], *, autocast: bool) -> dict[Window, float]:
    """The mean loss of each window under the weights as they are; windows that cannot be read are left out."""
    by_root: dict[str, list[int]] = {}
    for root, index in list(dict.fromkeys(windows))[-MAX_WINDOWS:]:
        by_root.setdefault(root, []).append(index)
    found: dict[Window, float] = {}
    device = model.head_weight.device
    for root, indices in by_root.items():
        size = max(1, BATCH_TOKENS // shelf.seq_len)
        for part in (indices[at : at + size] for at in range(0, len(indices), size)):
            if (got := shelf.read(root, part, True)) is None:
                continue
            ids, mask, segments = (torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in got[:3])
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                nll, weight = token_losses(model, ids.long(), segments, mask)
            means = (nll.double().sum(dim=1) / weight.sum(dim=1)).tolist()  # nan where nothing counts
            empty = (weight.sum(dim=1) == 0).tolist()
            found |= {(root, i): mean for i, mean, none in zip(part, means, empty, strict=True) if not none}
    return found


def stand_out(losses: dict[Window, float], reference: Sequence[float]) -> list[Window]:
    """The windows whose loss is out of the ordinary, or not finite; `reference` are losses of windows in order."""
    finite = [math.log(max(loss, 1e-12)) for loss in losses.values() if math.isfinite(loss)]
    usual = [math.log(max(loss, 1e-12)) for loss in reference if math.isfinite(loss)]
    usual = usual if len(usual) >= MIN_REFERENCE else finite
    if not usual:
        return sorted(losses)
    middle = float(np.median(usual))
    scale = max(FLOOR, TO_SIGMA * float(np.median(np.abs(np.asarray(usual) - middle))))
    limit = max(LEAST, FAR * scale)
    return sorted(
        window
        for window, loss in losses.items()
        if not math.isfinite(loss) or abs(math.log(max(loss, 1e-12)) - middle) > limit
    )


def not_finite(windows: Sequence[Window], losses: Sequence[float]) -> list[Window]:
    """The windows whose own loss is not finite, if that tells some of a batch from the others; else none."""
    bad = [window for window, loss in zip(windows, losses, strict=True) if not math.isfinite(loss)]
    return bad if len(bad) < len(windows) else []
