"""Choosing tokens: the distributions are the defined ones, and draws follow them."""

from __future__ import annotations

import math

import pytest
import torch

from clet import seeds
from clet.serve.sampling import HEAD, Sampler, Sampling, distribution, pick_tokens, score


def random_logits(size: int, name: str = "logits", scale: float = 2.0) -> torch.Tensor:
    return torch.randn(size, generator=seeds.torch_generator(5, f"tests/{name}")) * scale


def sampler(sampling: Sampling, name: str = "draws", seed: int = 7) -> Sampler:
    return Sampler(sampling, seeds.python_random(seed, name))


def kept(logits: torch.Tensor, sampling: Sampling) -> dict[int, float]:
    """Ids with their probability, from `distribution`."""
    weights, ids = distribution(logits, sampling)
    names = range(len(weights)) if ids is None else ids.tolist()
    total = float(weights.sum())
    return {name: weight / total for name, weight in zip(names, weights.tolist(), strict=True) if weight > 0}


def test_frequencies_of_draws_are_those_of_the_softmax():
    logits, number = random_logits(12), 20_000
    chooser = sampler(Sampling(temperature=0.7))
    counts = torch.bincount(torch.tensor([chooser.pick(logits) for _ in range(number)]), minlength=12)
    for count, p in zip(counts.tolist(), torch.softmax(logits / 0.7, 0).tolist(), strict=True):
        assert abs(count - number * p) <= 4.5 * math.sqrt(number * p * (1 - p)) + 1


def test_top_k_keeps_the_k_likeliest_with_their_proportions():
    logits = random_logits(50)
    probabilities = torch.softmax(logits, 0)
    best = probabilities.topk(5)
    assert kept(logits, Sampling(top_k=5)) == pytest.approx(
        dict(zip(best.indices.tolist(), (best.values / best.values.sum()).tolist(), strict=True))
    )


@pytest.mark.parametrize("size", [50, 4 * HEAD])
@pytest.mark.parametrize("top_p", [0.0, 0.2, 0.9, 0.999])
def test_top_p_keeps_the_smallest_set_that_reaches_p(size: int, top_p: float):
    # Flat logits of a large vocabulary need more than HEAD tokens for 0.9: the way by a full sort.
    logits = random_logits(size, scale=2.0 if size < HEAD else 0.1)
    probabilities = torch.softmax(logits.double(), 0)
    order = probabilities.argsort(descending=True).tolist()
    wanted, mass = set(), 0.0
    for token in order:
        if mass >= max(top_p, 1e-9):
            break
        wanted.add(token)
        mass += float(probabilities[token])
    found = set(kept(logits, Sampling(top_p=top_p)))
    assert len(found ^ wanted) <= 1  # a sum in another order may fall on the other side of p
    assert order[0] in found


def test_min_p_keeps_what_is_likely_beside_the_likeliest():
    logits = random_logits(50)
    probabilities = torch.softmax(logits, 0)
    wanted = {i for i, p in enumerate(probabilities.tolist()) if p >= 0.1 * float(probabilities.max())}
    assert set(kept(logits, Sampling(min_p=0.1))) == wanted


def test_zero_temperature_takes_the_likeliest():
    logits = random_logits(50)
    assert sampler(Sampling(temperature=0.0)).pick(logits) == int(logits.argmax())
    assert pick_tokens(logits[None], [sampler(Sampling(temperature=0.0))]) == [int(logits.argmax())]


def test_a_seed_reproduces_its_draws_and_another_does_not():
    logits = random_logits(200)

    def draws(seed: int) -> list[int]:
        chooser = sampler(Sampling(top_p=0.95), seed=seed)
        return [chooser.pick(logits) for _ in range(32)]

    assert draws(3) == draws(3) != draws(4)


def test_penalties_and_bias_are_subtracted_and_added_as_openai_defines_them():
    logits = torch.tensor([3.0, 2.9, 0.0])
    chooser = sampler(Sampling(temperature=0.0, frequency_penalty=0.2))
    assert [chooser.pick(logits) for _ in range(3)] == [0, 1, 0]  # 3.0; 2.8 < 2.9; 2.8 > 2.7
    assert sampler(Sampling(temperature=0.0, logit_bias={2: 4.0})).pick(logits) == 2
    assert torch.equal(logits, torch.tensor([3.0, 2.9, 0.0]))


def test_a_row_that_is_not_finite_gets_no_token_and_harms_no_other():
    rows = torch.stack([random_logits(9), torch.full((9,), math.nan), random_logits(9, "other")])
    rows[1, 3] = 1.0
    picked = pick_tokens(rows, [sampler(Sampling(temperature=0.0)), sampler(Sampling()), sampler(Sampling())])
    assert picked[0] == int(rows[0].argmax()) and picked[1] is None and picked[2] is not None


def test_scores_are_log_probabilities_of_the_model_itself():
    rows = torch.stack([random_logits(9), random_logits(9, "other")])
    scored = score(rows, [4, 0], 3)
    expected = torch.log_softmax(rows, -1)
    assert [item.logprob for item in scored] == pytest.approx([float(expected[0, 4]), float(expected[1, 0])])
    assert [token for token, _ in scored[1].top] == expected[1].argsort(descending=True)[:3].tolist()
