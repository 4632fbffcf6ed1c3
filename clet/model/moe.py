"""The sparse block of Qwen3-MoE: a router chooses k of E experts a token, and only those are computed.

Router probabilities are a softmax in float32 over all experts; the k largest are kept and, with `norm_topk_prob`,
rescaled to sum to one (arXiv:2505.09388). Tokens are sorted by expert, so each expert is one dense block over its own
rows: time grows with tokens * k and not with tokens * E. Memory: k copies of the hidden states.

The load-balancing loss is that of Switch Transformer (arXiv:2101.03961, equations 4 to 6), generalised to k choices:
E * sum_e f_e * P_e with f_e the choices of expert e a token and P_e its mean probability; k when perfectly even. It is
taken layer by layer and averaged, so that an imbalance in one layer cannot hide behind its opposite in another.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clet.model import fused
from clet.model.config import ModelConfig


class SwiGLU(nn.Module):
    """The gated feed-forward block (Shazeer 2020, arXiv:2002.05202): down(silu(gate(x)) * up(x))."""

    def __init__(self, hidden_size: int, intermediate_size: int, *, bias: bool = False) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden_size, intermediate_size, bias=bias)
        self.up_proj = nn.Linear(hidden_size, intermediate_size, bias=bias)
        self.down_proj = nn.Linear(intermediate_size, hidden_size, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., hidden] -> [..., hidden]."""
        if fused.fits(x) and fused.is_plain(self.gate_proj, self.up_proj, self.down_proj):
            return fused.feed_forward(x, self.gate_proj.weight, self.up_proj.weight, self.down_proj.weight)
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class SparseBlock(nn.Module):
    """Router and experts of one layer; parameters are named as in Hugging Face's checkpoints of Qwen3-MoE."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.top_k = config.num_experts_per_token
        self.norm_topk_prob = config.norm_topk_prob
        self.gate = nn.Linear(config.hidden_size, config.num_experts, bias=False)
        self.experts = nn.ModuleList(
            SwiGLU(config.hidden_size, config.moe_intermediate_size) for _ in range(config.num_experts)
        )
        self.balance: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, hidden] -> [B, T, hidden]; in training `balance` is set to this layer's balancing loss."""
        tokens = x.reshape(-1, x.shape[-1])  # [N, hidden]
        probabilities = self.gate(tokens).softmax(dim=-1, dtype=torch.float32)  # [N, E]
        weights, chosen = probabilities.topk(self.top_k, dim=-1)  # [N, k]
        if self.norm_topk_prob:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        flat = chosen.flatten()
        counts = torch.bincount(flat, minlength=len(self.experts))
        self.balance = self._balance(probabilities, counts) if self.training and torch.is_grad_enabled() else None
        order = flat.argsort(stable=True)  # choices grouped by expert
        rows = order // self.top_k
        gathered = tokens.index_select(0, rows).split(counts.tolist())
        outputs = [expert(part) for expert, part in zip(self.experts, gathered, strict=True) if part.shape[0]]
        weighted = torch.cat(outputs) * weights.flatten()[order].unsqueeze(1).to(x.dtype)
        return torch.zeros_like(tokens).index_add(0, rows, weighted).view_as(x)

    def _balance(self, probabilities: Tensor, counts: Tensor) -> Tensor:
        num_tokens, num_experts = probabilities.shape
        return num_experts * torch.dot(counts / num_tokens, probabilities.mean(dim=0))
