"""Attention by blocks of vector code against the masked reference in float64, and the products it is made of."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clet.kernels import njit
from clet.model import flash, tiles
from clet.model.attention import segment_mask
from clet.model.documents import Documents, whole_windows


def _inputs(rows, length, heads, key_heads, size, seed=5):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(rows, length, each, size) for each in (heads, key_heads, key_heads, heads)]
    *inputs, upstream = (torch.randn(shape, generator=generator) for shape in shapes)
    return [x.requires_grad_() for x in inputs], upstream


def _reference(q, k, v, segments):
    heads = (x.double().transpose(1, 2) for x in (q, k, v))
    mask = segment_mask(segments)
    return F.scaled_dot_product_attention(*heads, attn_mask=mask, enable_gqa=True).transpose(1, 2)


@pytest.mark.parametrize(("key_heads", "size"), [(1, 16), (2, 64), (4, 80), (2, 128)])
@pytest.mark.parametrize(
    "cuts", [[], [1, 2, 3, 100], [5, 96, 97, 193], [192], [130, 131]], ids=lambda cuts: f"cuts{len(cuts)}"
)
def test_output_and_gradients_equal_the_masked_reference(key_heads, size, cuts):
    segments = torch.zeros(2, 200, dtype=torch.int32)
    for cut in cuts:
        segments[1, cut:] += 1
    inputs, upstream = _inputs(2, 200, 4, key_heads, size)
    ours, reference = flash.attend(*inputs, Documents.of(segments)), _reference(*inputs, segments)
    torch.testing.assert_close(ours.double(), reference, rtol=1e-5, atol=1e-5)
    mine = torch.autograd.grad(ours, inputs, upstream)
    theirs = torch.autograd.grad(reference, inputs, upstream.double())
    for gradient, expected in zip(mine, theirs, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("length", [1, 5, 6, 7, 95, 96, 97, 128, 129])
def test_every_length_is_attended_to_its_last_token(length):
    inputs, _ = _inputs(1, length, 2, 1, 16)
    ours = flash.attend(*inputs, whole_windows(1, length))
    reference = _reference(*inputs, torch.zeros(1, length, dtype=torch.int32))
    torch.testing.assert_close(ours.double(), reference, rtol=1e-5, atol=1e-5)


def test_scores_far_apart_neither_overflow_nor_vanish():
    (q, k, v), upstream = _inputs(1, 40, 1, 1, 16)
    inputs = [(60 * q).detach().requires_grad_(), (60 * k).detach().requires_grad_(), v]
    ours, segments = flash.attend(*inputs, whole_windows(1, 40)), torch.zeros(1, 40, dtype=torch.int32)
    reference = _reference(*inputs, segments)
    torch.testing.assert_close(ours.double(), reference, rtol=1e-2, atol=1e-2)  # of scores in the thousands
    for gradient in torch.autograd.grad(ours, inputs, upstream):
        assert torch.isfinite(gradient).all()


def test_threads_give_the_same_bits_as_one():
    segments = torch.zeros(3, 150, dtype=torch.int32)
    segments[:, 70:] = 1
    inputs, upstream = _inputs(3, 150, 4, 2, 32)

    def computed():
        out = flash.attend(*inputs, Documents.of(segments))
        return out, *torch.autograd.grad(out, inputs, upstream)

    one = computed()
    torch.set_num_threads(2)
    try:
        two = computed()
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_value_that_is_no_number_reaches_all_that_see_it_and_no_other_document(place):
    inputs, upstream = _inputs(1, 120, 2, 1, 16)
    segments = torch.zeros(1, 120, dtype=torch.int32)
    segments[0, 50:] = 1
    with torch.no_grad():
        inputs[place][0, 60, 0, 3] = float("nan")
    out = flash.attend(*inputs, Documents.of(segments))
    assert not out[0, 60].isfinite().all()
    assert out[0, :50].isfinite().all()
    gradients = torch.autograd.grad(out, inputs, upstream)
    assert not all(gradient[0, 50:].isfinite().all() for gradient in gradients)
    assert all(gradient[0, :50].isfinite().all() for gradient in gradients)


def test_it_leaves_odd_heads_and_idle_threads_to_others(monkeypatch):
    inputs, _ = _inputs(1, 20, 2, 1, 12)
    assert flash.attend(*inputs, whole_windows(1, 20)) is None
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(flash, "MAX_THREADS", 8)
    inputs, _ = _inputs(1, 20, 2, 1, 16)
    assert flash.attend(*inputs, whole_windows(1, 20)) is None


def test_documents_end_where_the_number_changes_and_padding_is_one_of_its_own():
    segments = torch.tensor([[0, 0, 1, 1], [4, 4, -1, -1], [2, 2, 2, 2]])
    assert list(Documents.of(segments)) == [(0, 0, 2), (0, 2, 4), (1, 0, 2), (1, 2, 4), (2, 0, 4)]
    assert Documents.of(torch.tensor([[0, 1, 0]])) is None
    assert Documents.of(torch.tensor([[0, -1, 0]])) is None


def test_shares_hold_every_document_and_head_once_and_are_even():
    documents = Documents(np.array([(0, 0, 90), (0, 90, 100), (1, 0, 40), (1, 40, 100)]))
    items, bounds = documents.shares(2, 2)
    assert sorted(map(tuple, items.tolist())) == sorted((*span, head) for span in documents for head in range(2))
    loads = [sum((stop - start) ** 2 for _, start, stop, _ in items[a:b]) for a, b in itertools.pairwise(bounds)]
    assert max(loads) < 1.2 * min(loads)
    assert whole_windows(1, 100).shares(1, 4) is None


@njit
def _product(buffer, a, b, c, vectors, depth, add):
    if add:
        tiles.multiply_add(buffer, a, 1, tiles.STRIP, b, tiles.PANEL, vectors, c, tiles.PANEL, depth)
    else:
        tiles.multiply(buffer, a, 1, tiles.STRIP, b, tiles.PANEL, vectors, c, tiles.PANEL, depth)


@pytest.mark.parametrize("vectors", range(1, tiles.VECTORS + 1))
@pytest.mark.parametrize("add", [False, True])
def test_a_tile_is_a_matrix_product_and_touches_no_other_column(vectors, add):
    depth, columns = 37, vectors * tiles.LANES
    generator = np.random.default_rng(vectors)
    a, b = generator.normal(size=(depth, tiles.STRIP)), generator.normal(size=(depth, tiles.PANEL))
    c = generator.normal(size=(tiles.STRIP, tiles.PANEL))
    buffer = np.concatenate([x.ravel() for x in (a, b, c)]).astype(np.float32)
    expected = buffer[-c.size :].reshape(c.shape).astype(np.float64)
    expected[:, :columns] = (a.T @ b)[:, :columns] + (c[:, :columns] if add else 0)
    _product(buffer, 0, a.size, a.size + b.size, vectors, depth, add)
    np.testing.assert_allclose(buffer[-c.size :].reshape(c.shape), expected, rtol=1e-5, atol=1e-5)
