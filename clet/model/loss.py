"""Next-token loss of packed windows, without ever holding the logits of a whole batch.

The head of a small model is half of its arithmetic, and its logits [tokens, vocabulary] are by far its largest tensor:
2.5 GB for 4096 tokens of a 151 936 vocabulary. They are computed here for a few hundred tokens at a time, and each
chunk is turned into losses and into gradients while it is warm, as Liger Kernel does (arXiv:2410.10989): softmax is
then a pass over cache, not over memory, and nothing of vocabulary size is kept for the backward pass.

With u_i = softmax(logits_i) - onehot(target_i), the gradients for upstream weights g_i are dh_i = g_i * u_i W and
dW = sum_i g_i * u_i h_i. dh needs g_i only as a factor afterwards; dW needs it before the sum. The caller's weights
are known beforehand up to one common factor (a mean over the counted tokens, or `grad_weights`), so both come out of
the forward pass; the backward pass checks that the factor is indeed common, and recomputes the chunks if it is not.
Cost: 3 matrix products of the head's size a step (4 more if recomputed), memory one chunk and one gradient of the head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from clet.model.decoder import Decoder

CHUNK_ELEMENTS = 1 << 21  # 8 MB of float32 logits: 256 rows of an 8192 vocabulary, the fastest size measured
GPU_CHUNK_ELEMENTS = 1 << 28  # 1 GB: 1766 rows of a vocabulary of 151 936, so that dW is read and written seldom
MIN_CHUNK_ROWS = 256  # for large vocabularies: fewer rows make the update of dW memory-bound


def token_losses(
    model: Decoder,
    ids: Tensor,
    segments: Tensor | None = None,
    loss_mask: Tensor | None = None,
    *,
    grad_weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood (nats) of each next token in windows ids [B, T].

    Returns (nll [B, T-1] float32, weight [B, T-1] bool): entry t is about predicting token t+1 from those up to t. It
    counts (weight is True) where `loss_mask` [B, T] is set at t+1 and t and t+1 are of one document in `segments`
    [B, T]; None means all set, and one document. Where weight is False nothing is computed and nll is 0.

    A mean over the counted tokens has its gradient ready after the forward pass. A caller who weights tokens otherwise
    passes those weights as `grad_weights` [B, T-1] for the same speed; the gradient is exact either way.
    """
    weight = torch.ones(ids.shape[0], ids.shape[1] - 1, dtype=torch.bool, device=ids.device)
    if loss_mask is not None:
        weight &= loss_mask[:, 1:].bool()
    if segments is not None:
        weight &= segments[:, 1:] == segments[:, :-1]
    counted = weight.flatten().nonzero().squeeze(1)  # [N]
    hidden = model.hidden(ids, segments=segments)[:, :-1].flatten(0, 1)  # [B*(T-1), hidden]
    rows = hidden if len(counted) == len(hidden) else hidden.index_select(0, counted)
    targets = ids[:, 1:].flatten()[counted]
    expected = torch.ones(len(targets), device=ids.device)
    if grad_weights is not None:
        expected = grad_weights.detach().flatten()[counted].to(torch.float32)
    losses = _HeadLoss.apply(rows, model.head_weight, targets, expected)
    nll = torch.zeros(weight.numel(), dtype=torch.float32, device=ids.device).index_copy(0, counted, losses)
    return nll.view_as(weight), weight


class _Head:
    """Logits and losses of one chunk of rows at a time, in a buffer that is used again.

    New tensors of this size would be mapped and zeroed by the kernel each time, which costs as much as the softmax.
    Products are of type `kind`, logits, losses and what is summed up are float32.
    """

    def __init__(self, head: Tensor, num_rows: int, kind: torch.dtype) -> None:
        self.head = head.to(kind)
        elements = CHUNK_ELEMENTS if head.device.type == "cpu" else GPU_CHUNK_ELEMENTS
        self.rows = max(1, min(num_rows, max(MIN_CHUNK_ROWS, elements // head.shape[0])))
        self.logits = torch.empty((self.rows, head.shape[0]), dtype=torch.float32, device=head.device)

    def parts(self, num_rows: int) -> list[slice]:
        """The chunks that cover `num_rows`."""
        return [slice(start, min(start + self.rows, num_rows)) for start in range(0, num_rows, self.rows)]

    def losses(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Losses [n] of hidden [n, H], and u = softmax - onehot [n, V], in the buffer until the next call."""
        logits = self.logits[: len(targets)]
        if hidden.dtype is torch.float32:
            torch.mm(hidden, self.head.t(), out=logits)
        else:
            logits.copy_(hidden @ self.head.t())
        if logits.device.type == "cpu":
            from clet.model import rows  # numba is not needed by who only serves

            losses = logits.new_empty(len(targets))
            rows.cross_entropy(logits, targets, losses, max(1, min(torch.get_num_threads(), len(targets))))
            return losses, logits
        right = targets.unsqueeze(1)
        losses = torch.logsumexp(logits, dim=-1) - logits.gather(1, right).squeeze(1)
        torch.softmax(logits, dim=-1, out=logits)
        return losses, logits.scatter_add_(1, right, logits.new_full((len(targets), 1), -1.0))

    def gradients(self, hidden: Tensor, errors: Tensor, weights: Tensor, dhead: Tensor | None) -> Tensor:
        """u W [n, H], unweighted; adds sum_i weights_i * u_i h_i to `dhead` [V, H]."""
        errors = errors.to(hidden.dtype)
        if dhead is not None:
            weighted = hidden * weights.unsqueeze(1).to(hidden.dtype)
            if hidden.dtype is dhead.dtype:
                dhead.addmm_(errors.t(), weighted)
            else:
                dhead.add_(errors.t() @ weighted)
        return errors @ self.head


class _HeadLoss(torch.autograd.Function):
    """Losses of hidden [N, H] against targets [N] under head [V, H], with `expected` [N] upstream weights.

    Products are of autocast's type where it is on, as those of the layers are, else of hidden's.
    """

    @staticmethod
    def forward(ctx, hidden: Tensor, head: Tensor, targets: Tensor, expected: Tensor) -> Tensor:
        device = hidden.device.type
        ctx.kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        needs_hidden, needs_head = ctx.needs_input_grad[:2]
        losses = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        dhidden = torch.empty_like(hidden) if needs_hidden else None
        dhead = torch.zeros_like(head) if needs_head else None
        chunk, inner = _Head(head, len(targets), ctx.kind), hidden.to(ctx.kind)
        for part in chunk.parts(len(targets)):
            losses[part], errors = chunk.losses(inner[part], targets[part])
            if needs_hidden or needs_head:
                below = chunk.gradients(inner[part], errors, expected[part], dhead)
                if needs_hidden:
                    dhidden[part] = below
        if needs_hidden or needs_head:
            ctx.save_for_backward(hidden, head, targets, expected, dhidden, dhead)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        hidden, head, targets, expected, dhidden, dhead = ctx.saved_tensors
        if dhidden is not None:
            dhidden = dhidden * grad.unsqueeze(1).to(dhidden.dtype)
        if dhead is None:
            return dhidden, None, None, None
        factor = _common_factor(grad, expected)
        if factor is not None:
            return dhidden, dhead * factor.to(dhead.dtype), None, None
        dhead = torch.zeros_like(head)
        chunk, inner = _Head(head, len(targets), ctx.kind), hidden.to(ctx.kind)
        for part in chunk.parts(len(targets)):
            _, errors = chunk.losses(inner[part], targets[part])
            chunk.gradients(inner[part], errors, grad[part], dhead)
        return dhidden, dhead, None, None


def _common_factor(grad: Tensor, expected: Tensor) -> Tensor | None:
    """c with grad = c * expected up to float rounding, or None when there is none."""
    if not len(grad):
        return grad.new_zeros(())
    largest = expected.abs().argmax()
    factor = grad[largest] / expected[largest]
    same = torch.isclose(grad, expected * factor, rtol=1e-6, atol=0.0).all() & torch.isfinite(factor)
    return factor if bool(same) else None
