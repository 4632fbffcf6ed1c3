"""Shapes to start from, all in Qwen3's form (RMSNorm on queries and keys, tied head).

Heads are 64 wide and every dimension is a multiple of 64, which is what CPU matrix products and caches like; small
models have few heads, because attention over a window costs per head and not per parameter. `base` is the published
shape of Qwen3-0.6B (arXiv:2505.09388), so that its weights and `init --from` meet the same code.

A MoE variant has 8 experts of half the width, 2 a token: about the same arithmetic a token, about 3 times the weights
in its feed-forward blocks.
"""

from __future__ import annotations

from dataclasses import replace

from clet.exits import UsageError
from clet.model.config import QWEN3, QWEN3_MOE, ModelConfig

DEFAULT_VOCAB = 8192
NUM_EXPERTS = 8
EXPERTS_PER_TOKEN = 2


def _qwen3(hidden: int, layers: int, heads: int, kv_heads: int, intermediate: int) -> ModelConfig:
    return ModelConfig(
        architecture=QWEN3,
        vocab_size=DEFAULT_VOCAB,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=64,
    )


PRESETS: dict[str, ModelConfig] = {
    "pico": _qwen3(hidden=128, layers=5, heads=2, kv_heads=1, intermediate=384),  # 2.0 M
    "nano": _qwen3(hidden=192, layers=6, heads=3, kv_heads=1, intermediate=512),  # 3.9 M
    "micro": _qwen3(hidden=256, layers=10, heads=4, kv_heads=2, intermediate=768),  # 10.0 M
    "small": _qwen3(hidden=512, layers=16, heads=8, kv_heads=2, intermediate=1408),  # 49.3 M
    "base": ModelConfig(  # 596 M
        architecture=QWEN3,
        vocab_size=151_936,
        hidden_size=1024,
        intermediate_size=3072,
        num_layers=28,
        num_heads=16,
        num_kv_heads=8,
        head_dim=128,
        rope_theta=1_000_000.0,
        max_positions=40_960,
    ),
}


def preset_config(name: str, *, vocab_size: int | None = None, moe: bool = False) -> ModelConfig:
    """The configuration of a preset, with another vocabulary or as a mixture of experts. UsageError if unknown."""
    if name not in PRESETS:
        raise UsageError(f"unknown preset {name!r}; choose one of {', '.join(PRESETS)}")
    config = PRESETS[name]
    if vocab_size is not None:
        config = replace(config, vocab_size=vocab_size)
    if moe:
        config = replace(
            config,
            architecture=QWEN3_MOE,
            num_experts=NUM_EXPERTS,
            num_experts_per_token=EXPERTS_PER_TOKEN,
            moe_intermediate_size=config.intermediate_size // EXPERTS_PER_TOKEN,
        )
    return config
