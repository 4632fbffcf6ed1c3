"""Serving through the cache gives what the whole sequence gives, whatever the batch looks like."""

from __future__ import annotations

import pytest
import torch

from clet.model import cache as cache_module
from clet.model.cache import KVCache

PROMPTS = [5, 1, 17, 9]
NEW = 12


def greedy_alone(model, prompt: list[int]) -> list[int]:
    ids = list(prompt)
    for _ in range(NEW):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids


def prompts(random_ids) -> list[list[int]]:
    return [random_ids(1, length, f"prompt {length}")[0].tolist() for length in PROMPTS]


@pytest.fixture(params=["by row", "masked"])
def decode_path(request, monkeypatch):
    """Both ways of a decode step; the masked one is otherwise only taken off the CPU."""
    if request.param == "masked":
        monkeypatch.setattr(cache_module, "_decode_by_row", cache_module._decode_masked)


@pytest.mark.parametrize("changes", [{}, {"num_kv_heads": 4}, {"num_experts": 4}, {"tie_embeddings": False}])
def test_greedy_ragged_batch_equals_each_prompt_alone_token_for_token(tiny, random_ids, decode_path, changes):
    model = tiny(**changes)
    cache = KVCache(model.config, num_slots=6, max_len=64)
    slots = [4, 0, 5, 2]
    sequences = prompts(random_ids)
    with torch.no_grad():
        expected = [greedy_alone(model, prompt) for prompt in sequences]
        padded = torch.zeros(len(sequences), max(PROMPTS), dtype=torch.int64)
        for row, prompt in enumerate(sequences):
            padded[row, : len(prompt)] = torch.tensor(prompt)
        logits = model(padded, cache=cache.view(slots, [0] * 4, counts=PROMPTS), last_only=True)
        for _ in range(NEW):
            for sequence, token in zip(sequences, logits[:, 0].argmax(-1).tolist(), strict=True):
                sequence.append(token)
            ids = torch.tensor([[sequence[-1]] for sequence in sequences])
            lengths = [len(sequence) - 1 for sequence in sequences]
            logits = model(ids, cache=cache.view(slots, lengths), last_only=True)
    assert sequences == expected


def test_sequences_join_and_leave_between_steps(tiny, random_ids, decode_path):
    model = tiny()
    cache = KVCache(model.config, num_slots=2, max_len=64)
    first, second, third = prompts(random_ids)[:3]
    with torch.no_grad():
        whole_first, whole_second, whole_third = (model(torch.tensor([ids]))[0] for ids in (first, second * 3, third))
        model(torch.tensor([first[:3]]), cache=cache.view([1], [0]))
        model(torch.tensor([second]), cache=cache.view([0], [0]))
        both = model(torch.tensor([[second[0]], [first[3]]]), cache=cache.view([0, 1], [1, 3]))
        assert torch.allclose(both[1, 0], whole_first[3], atol=1e-4)
        last = model(torch.tensor([[second[0]]]), cache=cache.view([0], [2]))
        assert torch.allclose(last[0, 0], whole_second[2], atol=1e-4)
        # Slot 0 is taken over by a longer sequence; what was there before must not be seen.
        again = model(torch.tensor([third]), cache=cache.view([0], [0]))
        assert torch.allclose(again[0], whole_third, atol=1e-4)


def test_prompt_in_chunks_equals_prompt_at_once(tiny, random_ids):
    model = tiny()
    cache = KVCache(model.config, num_slots=3, max_len=64)
    ids = random_ids(2, 20)
    with torch.no_grad():
        whole = model(ids)
        model(ids[:, :6], cache=cache.view([2, 1], [0, 0]))
        # The second row is two tokens behind: its chunk is padded at the right.
        chunk = torch.stack([ids[0, 6:13], torch.cat([ids[1, 6:11], torch.zeros(2, dtype=torch.int64)])])
        part = model(chunk, cache=cache.view([2, 1], [6, 6], counts=[7, 5]))
        assert torch.allclose(part[0], whole[0, 6:13], atol=1e-4)
        assert torch.allclose(part[1, :5], whole[1, 6:11], atol=1e-4)
        rest = model(ids[1:, 11:], cache=cache.view([1], [11]), last_only=True)
        assert torch.allclose(rest[0, 0], whole[1, -1], atol=1e-4)


def test_a_row_does_not_depend_on_padding_up_to_the_end_of_its_slot(tiny, random_ids):
    model = tiny()
    cache = KVCache(model.config, num_slots=2, max_len=10)
    ids = random_ids(2, 8)
    with torch.no_grad():
        model(ids[:, :4], cache=cache.view([0, 1], [0, 0]))
        out = model(ids[:, 4:], cache=cache.view([0, 1], [4, 4], counts=[4, 1]), last_only=True)
        assert torch.allclose(out[1, 0], model(ids[1:, :5])[0, -1], atol=1e-4)


def test_half_precision_cache_stays_close(tiny, random_ids):
    model = tiny()
    cache = KVCache(model.config, num_slots=1, max_len=16, dtype=torch.bfloat16)
    ids = random_ids(1, 8)
    with torch.no_grad():
        model(ids[:, :7], cache=cache.view([0], [0]))
        out = model(ids[:, 7:], cache=cache.view([0], [7]))
        assert torch.allclose(out[0, 0], model(ids)[0, -1], atol=0.5)
    assert cache.num_bytes == 2 * 2 * 2 * 16 * 16 * 2


@pytest.mark.parametrize(
    ("slots", "lengths", "counts"),
    [([0, 0], [1, 1], None), ([2], [0], None), ([0], [-1], None), ([0], [6], None), ([0], [0], [5]), ([0], [0], [0])],
)
def test_a_view_that_cannot_be_is_refused(tiny, random_ids, slots, lengths, counts):
    model = tiny()
    cache = KVCache(model.config, num_slots=2, max_len=8)
    with pytest.raises(ValueError):
        model(random_ids(len(slots), 4), cache=cache.view(slots, lengths, counts))
