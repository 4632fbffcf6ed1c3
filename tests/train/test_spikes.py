"""The detectors of single steps: what trips them, how soon, and that clean streams do not."""

from __future__ import annotations

import math

import numpy as np
import orjson
import pytest

from clet.seeds import numpy_generator
from clet.train.spikes import Signals, detectors

VOCAB = 2048


def stream(count, *, seed=1, noise="normal", level=3.0):
    """Losses that fall from that of knowing nothing to `level`, with noise of 6% on the logarithm."""
    generator = numpy_generator(seed, "tests/spikes")
    draw = generator.standard_normal if noise == "normal" else lambda n: generator.laplace(0, 0.7, n)
    trend = level + (math.log(VOCAB) - level) * np.exp(-np.arange(count) / 60)
    return trend * np.exp(0.06 * draw(count)), np.exp(0.25 * draw(count))


def run(watch, losses, norms, segment=lambda step: 0, begin=1, piece=lambda step: None):
    """(step, objection) of the first objection, or None; steps without one are added."""
    for step, (loss, norm) in enumerate(zip(losses, norms, strict=True), begin):
        now = Signals(step, segment(step), float(loss), float(norm), piece=piece(step))
        for detect in watch.values():
            if found := detect.objection(now):
                return step, found
        for detect in watch.values():
            detect.add(now)
    return None


@pytest.mark.parametrize("noise", ["normal", "laplace"])
def test_clean_streams_do_not_trip_whatever_their_tails(noise):
    for seed in range(8):
        assert run(detectors(VOCAB), *stream(1500, seed=seed, noise=noise)) is None


def test_new_data_with_another_level_do_not_trip():
    losses, norms = stream(300)
    higher, more = stream(300, seed=2, level=4.5)
    losses = np.concatenate([losses, np.minimum(higher, 5.5)])
    watch = detectors(VOCAB)
    assert run(watch, losses, np.concatenate([norms, 2 * more]), segment=lambda step: int(step > 300)) is None


def test_a_loss_that_falls_fast_is_not_taken_for_repeated_text():
    losses, norms = stream(300)
    for factor, least in ((0.8, 0.3), (0.7, 0.01)):
        falling = np.concatenate([losses[:250], np.maximum(losses[249] * factor ** np.arange(1, 51), least)])
        assert run(detectors(VOCAB), falling, norms) is None
    adopted = np.concatenate([losses[:250], np.full(50, 0.4)])
    assert run(detectors(VOCAB), adopted, norms) is None


def test_single_gradients_of_a_hundred_times_the_usual_norm_are_left_to_clipping():
    losses, norms = stream(400)
    for step in (40, 55, 56, 200, 260):
        norms[step] *= 120
    assert run(detectors(VOCAB), losses, norms) is None


def test_windows_of_the_ends_of_many_documents_are_not_compared_with_whole_ones():
    losses, norms = stream(300, level=2.0)
    losses[250] *= 3.2
    norms[250] *= 8
    assert run(detectors(VOCAB), losses, norms, piece=lambda step: 20.0 if step == 251 else 400.0) is None
    found = run(detectors(VOCAB), losses, norms, piece=lambda step: 300.0 if step == 251 else 400.0)
    assert found is not None and found[0] == 251


@pytest.mark.parametrize(
    ("what", "change", "delay", "why"),
    [
        ("loss", lambda x, n: math.nan, 0, "non-finite loss"),
        ("norm", lambda x, n: math.inf, 0, "non-finite gradient"),
        ("loss", lambda x, n: 4 * x, 0, "loss spike"),
        ("loss", lambda x, n: 1.5 * x, 6, "loss spike"),
        ("loss", lambda x, n: 8.2, 1, "loss spike|knowing nothing"),
        ("loss", lambda x, n: 0.1, 2, "collapsed"),
        ("norm", lambda x, n: 200 * x, 2, "gradient norm spike"),
        ("norm", lambda x, n: 9 * x, 14, "gradient norm spike"),
    ],
)
def test_harm_is_noticed_within_its_delay_and_its_beginning_is_named(what, change, delay, why):
    losses, norms = stream(400)
    (losses if what == "loss" else norms)[300:] = [change(x, 0) for x in (losses if what == "loss" else norms)[300:]]
    step, found = run(detectors(VOCAB), losses, norms)
    assert 301 <= step <= 301 + delay
    assert any(part in found.why for part in why.split("|")), found.why
    assert 299 <= found.onset <= step


def test_what_was_seen_is_saved_and_restored_to_the_last_bit():
    losses, norms = stream(400)
    losses[200:] *= 1.4  # a slow alarm, under way when it is cut
    whole = run(detectors(VOCAB), losses, norms)
    assert whole is not None
    for cut in (50, 201, whole[0] - 1):
        first, second = detectors(VOCAB), detectors(VOCAB)
        assert run(first, losses[:cut], norms[:cut]) is None
        saved = orjson.loads(orjson.dumps({name: detect.state() for name, detect in first.items()}))
        for name, detect in second.items():
            detect.load(saved[name])
        assert run(second, losses[cut:], norms[cut:], begin=cut + 1) == whole
