"""In which type a run multiplies matrices: float32, or bfloat16 where that is faster here, found by timing it.

CUDA devices of the last years multiply bfloat16 8 to 16 times as fast. Among CPUs it depends: with AMX tiles 7 times as
fast, with AVX2 alone 50 times slower, and no name tells. Products alone do not tell either: under autocast each input
is cast first, and what is between the products (see `clet.model.fused`) is slower then, so that on a CPU with AMX a
step of 2 M parameters gains nothing, of 10 M a tenth, of 50 M half. So two probes are timed with the run's threads: a
product, and where that gains, a layer of the model forward and backward. bfloat16 has to win by `GAIN`, since it
costs three digits. The answer is one of the run's settings: a resumed run does not ask again.

Cost: 0.2 s on a CPU without bfloat16, the time of twelve layers over 512 tokens on one with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from clet.log import log
from clet.model.decoder import Decoder

GAIN = 1.2
TOKENS = 512
SIZE = 512  # of the product: 0.27 GFLOP
TRIES = 5


def choose_dtype(wanted: str, model: Decoder) -> str:
    """`wanted`, or for "auto" what suits device and model."""
    if wanted != "auto":
        return wanted
    device = model.head_weight.device
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    if faster_in_bfloat16(_product) <= GAIN:
        return "float32"
    gain = faster_in_bfloat16(lambda enabled: _layer(model, enabled))
    chosen = "bfloat16" if gain > GAIN else "float32"
    log.info(f"{chosen} products: bfloat16 makes a layer {gain:.2f} times as fast here", event="dtype")
    return chosen


def faster_in_bfloat16(work: Callable[[bool], None]) -> float:
    """How many times as fast `work(True)` is, which is to compute in bfloat16; the best of some tries in turn.

    By the clock or by CPU time, whichever says less: on a busy machine the clock alone is luck.
    """
    clocks = (time.perf_counter, time.process_time)
    best = {enabled: [float("inf")] * len(clocks) for enabled in (False, True)}
    for _ in range(TRIES + 1):  # the first one warms up
        for enabled, times in best.items():
            began = [clock() for clock in clocks]
            work(enabled)
            taken = [clock() - start for clock, start in zip(clocks, began, strict=True)]
            best[enabled] = list(map(min, times, taken))
        if best[True][0] > 10 * best[False][0]:
            break  # no need to suffer it again
    return min(plain / short for plain, short in zip(best[False], best[True], strict=True))


def _product(enabled: bool) -> None:
    a = torch.ones(TOKENS, SIZE, dtype=torch.bfloat16 if enabled else torch.float32)
    a @ a.new_ones(SIZE, SIZE)


def _layer(model: Decoder, enabled: bool) -> None:
    length = min(TOKENS, model.config.max_positions)
    x = torch.full((1, length, model.config.hidden_size), 0.1, requires_grad=True)
    cos, sin = model.rotary.upto(length, x.device, x.dtype)
    layer = model.model.layers[0]
    weights = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        out = layer(x, cos[:length].unsqueeze(1), sin[:length].unsqueeze(1), None, None)
    torch.autograd.grad(out.sum(), [x, *weights], allow_unused=True)  # an expert may have been chosen by no token
