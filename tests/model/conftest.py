"""Small random decoders for the tests of the model room."""

from __future__ import annotations

import pytest
import torch

from clet import seeds
from clet.model.config import QWEN3, QWEN3_MOE, ModelConfig
from clet.model.decoder import Decoder


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def tiny():
    """Makes a random decoder: `tiny(**changes to the configuration)`."""
    return make_tiny


def make_tiny(**changes) -> Decoder:
    shape = {
        "vocab_size": 97,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_layers": 2,
        "num_heads": 4,
        "num_kv_heads": 2,
        "head_dim": 16,
        "max_positions": 128,
    }
    if changes.get("num_experts"):
        shape |= {"architecture": QWEN3_MOE, "num_experts_per_token": 2, "moe_intermediate_size": 32}
    model = Decoder(ModelConfig(**({"architecture": QWEN3} | shape | changes)))
    generator = seeds.torch_generator(11, "tests/tiny")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    return model.eval()


@pytest.fixture
def random_ids():
    """Makes token ids [B, T] below 97."""

    def make(batch: int, length: int, name: str = "ids") -> torch.Tensor:
        return torch.randint(0, 97, (batch, length), generator=seeds.torch_generator(12, f"tests/{name}"))

    return make
