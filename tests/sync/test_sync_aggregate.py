"""The outer optimiser against torch's, and who may pull how hard."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clet import seeds
from clet.sync.aggregate import CLIP, MIN_RECENT, Acceptance, DelayedNesterov, Refused, l2_norm


def deltas(count: int, size: int = 64) -> list[np.ndarray]:
    generator = seeds.numpy_generator(0, "deltas")
    return [generator.standard_normal(size).astype(np.float32) for _ in range(count)]


def test_one_worker_gives_torch_nesterov():
    weights = torch.nn.Parameter(torch.ones(64))
    reference = torch.optim.SGD([weights], lr=0.7, momentum=0.9, nesterov=True)
    outer = DelayedNesterov(np.ones(64, np.float32))
    for delta in deltas(20):
        weights.grad = torch.from_numpy(delta.copy())
        reference.step()
        outer.apply(delta, weight=1.0, lr=0.7, momentum=0.9)
    np.testing.assert_allclose(outer.weights, weights.detach().numpy(), atol=1e-4)


def test_an_even_fleet_of_three_makes_one_mean_step_a_turn():
    # Three deltas at weight 1/3 move the weights as the mean delta does once: the 1/M of a barrier without a barrier.
    alone, fleet = DelayedNesterov(np.ones(64, np.float32)), DelayedNesterov(np.ones(64, np.float32))
    many = deltas(9)
    for turn in (many[:3], many[3:6], many[6:]):
        alone.apply(np.mean(turn, axis=0), weight=1.0, lr=0.7, momentum=0.9)
        for delta in turn:
            fleet.apply(delta, weight=1 / 3, lr=0.7, momentum=0.9)
    np.testing.assert_allclose(fleet.weights, alone.weights, atol=1e-5)
    np.testing.assert_allclose(fleet.momentum, alone.momentum, atol=1e-5)


def test_published_weights_are_never_written_into():
    outer = DelayedNesterov(np.ones(64, np.float32))
    before = outer.weights
    kept = before.copy()
    outer.apply(deltas(1)[0], weight=1.0, lr=0.7, momentum=0.9)
    assert np.array_equal(before, kept) and not np.array_equal(outer.weights, kept)


def judge(acceptance: Acceptance, delta: np.ndarray, staleness: int = 0, tokens: int = 100):
    return acceptance.judge(delta, tokens=tokens, staleness=staleness, weights_norm=1000.0)


def seasoned() -> Acceptance:
    return Acceptance([1.0] * MIN_RECENT, [100] * MIN_RECENT)


def unit(norm: float) -> np.ndarray:
    delta = np.zeros(64, np.float32)
    delta[0] = norm
    return delta


def test_weight_falls_with_staleness():
    assert [judge(seasoned(), unit(1.0), staleness).weight for staleness in range(4)] == [1, 1 / 2, 1 / 3, 1 / 4]


def test_fewer_tokens_count_for_less_and_a_boast_for_nothing():
    assert judge(seasoned(), unit(1.0), tokens=25).weight == 0.25
    assert judge(seasoned(), unit(1.0), tokens=10**9).weight == 1.0


def test_a_large_delta_is_clipped_to_a_multiple_of_the_median():
    verdict = judge(seasoned(), unit(10 * CLIP))
    assert verdict.weight * verdict.norm == pytest.approx(CLIP)


def test_clipped_deltas_cannot_ratchet_the_median_at_once():
    acceptance = seasoned()
    verdict = judge(acceptance, unit(900.0))
    acceptance.remember(verdict.norm, verdict.clip, 100)
    assert judge(acceptance, unit(900.0)).weight * 900.0 == pytest.approx(CLIP)


def test_a_delta_larger_than_the_weights_is_refused_from_the_first():
    with pytest.raises(Refused, match="norm"):
        judge(Acceptance(), unit(1001.0))


def test_norm_does_not_overflow():
    assert l2_norm(np.full(4, 1e30, np.float32)) == pytest.approx(2e30, rel=1e-6)


def test_acceptance_restores_from_its_values():
    acceptance = seasoned()
    acceptance.remember(2.0, 0.5, 50)
    assert Acceptance(**acceptance.values()).values() == acceptance.values()
