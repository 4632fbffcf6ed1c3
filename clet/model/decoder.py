"""The decoder: token ids in, logits out; one code for training and for serving.

Pre-norm transformer with rotary positions, grouped-query attention, SwiGLU or sparse experts, tied or untied head: the
common form of Llama, Qwen2, Qwen3 and Qwen3-MoE, which differ by the switches of `ModelConfig`. Parameter names are
exactly Hugging Face's, so a checkpoint needs no mapping of keys. float32 logits agree with transformers within 1e-4.

    logits = decoder(ids)                                          # [B, T] -> [B, T, V]
    logits = decoder(ids, segments=segments)                       # packed windows, documents kept apart
    logits = decoder(ids, cache=cache.view(slots, lengths), last_only=True)     # serving, see cache.py
    nll, weight = token_losses(decoder, ids, segments, loss_mask)  # training and perplexity, see loss.py
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from clet.model import fused
from clet.model.attention import Attention, Scope, attend_documents, attention_scope
from clet.model.cache import CacheView
from clet.model.config import ModelConfig
from clet.model.loss import token_losses
from clet.model.moe import SparseBlock, SwiGLU
from clet.model.norm import RMSNorm
from clet.model.rotary import RotaryTable

__all__ = ["Decoder", "token_losses"]


class Layer(nn.Module):
    """One pre-norm block: attention, then a dense or sparse feed-forward, each added to the residual stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer)
        if config.is_sparse(layer):
            self.mlp = SparseBlock(config)
        else:
            self.mlp = SwiGLU(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, scope: Scope, cache: CacheView | None) -> Tensor:
        """x [B, T, hidden] -> [B, T, hidden]."""
        before, after = self.input_layernorm, self.post_attention_layernorm
        if fused.fits(x):
            x, inner = fused.norm(x, before.weight, before.eps)
            x, inner = fused.add_norm(x, self.self_attn(inner, cos, sin, scope, cache), after.weight, after.eps)
            return x + self.mlp(inner)
        x = x + self.self_attn(before(x), cos, sin, scope, cache)
        return x + self.mlp(after(x))


class Embedding(nn.Embedding):
    """nn.Embedding that draws no numbers on the meta device: torch's reference of `normal_` for it imports
    torch._dynamo, 1.3 s at the start of every process that loads a model."""

    def reset_parameters(self) -> None:
        """As nn.Embedding, where there is memory to fill."""
        if not self.weight.is_meta:
            super().reset_parameters()


class Stack(nn.Module):
    """Embedding, layers and last norm: what Hugging Face calls `model`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, layer) for layer in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class Decoder(nn.Module):
    """A causal language model of `config`; weights are torch's defaults until loaded or initialised.

    With `recompute` set, training keeps the inputs of layers only and computes them again in the backward pass (Chen
    et al. 2016, arXiv:1604.06174): a third more time, the same gradients, and memory for one layer's inside.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Stack(config)
        if not config.tie_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.rotary = RotaryTable(config)
        self.recompute = False

    @property
    def head_weight(self) -> Tensor:
        """The output matrix [V, hidden]; the embedding's own when they are tied."""
        return self.model.embed_tokens.weight if self.config.tie_embeddings else self.lm_head.weight

    def forward(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
        cache: CacheView | None = None,
        last_only: bool = False,
    ) -> Tensor:
        """ids [B, T] -> logits [B, T, V], or with `last_only` [B, 1, V] of each row's last (real) token.

        `positions` [B, T] default to 0..T-1, or to those that follow the cached tokens. `segments` [B, T] number the
        documents of a packed window: attention stays inside a document. ValueError for a position that the model does
        not have, and for `segments` together with `cache`.
        """
        hidden = self.hidden(ids, positions=positions, segments=segments, cache=cache)
        if last_only and cache is not None:
            rows = torch.arange(len(hidden), device=hidden.device)
            hidden = hidden[rows, cache.last_rows()].unsqueeze(1)
        elif last_only:
            hidden = hidden[:, -1:]
        return F.linear(hidden, self.head_weight)

    def hidden(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
        cache: CacheView | None = None,
    ) -> Tensor:
        """The normalised states [B, T, hidden] that the head reads; arguments as in `forward`."""
        if segments is not None and cache is not None:
            raise ValueError("a cache holds one sequence a slot: segments cannot be used with it")
        x = self.model.embed_tokens(ids)
        if cache is not None:
            following = cache.begin(*ids.shape)
            positions = following if positions is None else positions
        cos, sin = self._angles(positions, ids.shape[1], x)
        scope = None if segments is None else attention_scope(segments)
        for layer in self.model.layers:
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(layer, x, cos, sin, scope, cache, use_reentrant=False, preserve_rng_state=False)
            else:
                x = layer(x, cos, sin, scope, cache)
        return self.model.norm(x)

    def compile_layers(self) -> None:
        """Have the layers compiled by torch.compile when they are next called.

        Attention by document is left out on a CPU: where documents end is another each step, and a compiler that looks
        into it would compile each step again.
        """
        for layer in self.model.layers:
            layer.self_attn.attend_documents = torch.compiler.disable(attend_documents)
            layer.compile()

    def _angles(self, positions: Tensor | None, length: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin that broadcast against heads [B, T, H, D/2]."""
        if positions is None:
            cos, sin = self.rotary.upto(length, x.device, x.dtype)
            return cos[:length].unsqueeze(1), sin[:length].unsqueeze(1)
        cos, sin = self.rotary.upto(int(positions.max()) + 1, x.device, x.dtype)
        return cos[positions].unsqueeze(2), sin[positions].unsqueeze(2)

    def aux_loss(self) -> Tensor:
        """The experts' load-balancing loss of the last forward pass in training, a mean over sparse layers.

        Add it to the loss times `config.router_aux_loss_coef`. Zero for a dense model.
        """
        balances = [layer.mlp.balance for layer in self.model.layers if isinstance(layer.mlp, SparseBlock)]
        computed = [balance for balance in balances if balance is not None]
        if not computed:
            return self.head_weight.new_zeros((), dtype=torch.float32)
        return torch.stack(computed).mean()
