"""float32 logits equal transformers' within 1e-4, in both directions, for every supported architecture."""

from __future__ import annotations

import pytest
import torch

from clet import seeds
from clet.model.checkpoint import load_model, read_config, save_model
from clet.model.config import ModelConfig
from clet.model.decoder import Decoder

transformers = pytest.importorskip("transformers")

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
SHAPE = {
    "vocab_size": 211,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": None,
    "eos_token_id": 1,
}
EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
CASES = {
    "qwen3 tied": ("Qwen3", {"head_dim": 16, "tie_word_embeddings": True}),
    "qwen3 untied, wide heads": ("Qwen3", {"head_dim": 32, "tie_word_embeddings": False}),
    "qwen3 attention bias": ("Qwen3", {"head_dim": 16, "attention_bias": True}),
    "qwen3 llama3 rotary": ("Qwen3", {"head_dim": 16, "rope_parameters": LLAMA3_ROPE | {"rope_theta": 5e5}}),
    "moe normalised": ("Qwen3Moe", EXPERTS | {"norm_topk_prob": True, "tie_word_embeddings": True}),
    "moe some dense layers": ("Qwen3Moe", EXPERTS | {"norm_topk_prob": False, "mlp_only_layers": [1]}),
    "moe every second": ("Qwen3Moe", EXPERTS | {"decoder_sparse_step": 2, "head_dim": 20}),
    "qwen2 untied": ("Qwen2", {"tie_word_embeddings": False}),
    "qwen2 tied": (
        "Qwen2",
        {"tie_word_embeddings": True, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    ),
    "llama untied": ("Llama", {"tie_word_embeddings": False}),
    "llama all biases": ("Llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "llama3 rotary": ("Llama", {"rope_parameters": LLAMA3_ROPE | {"rope_theta": 5e5}}),
    "llama multi-head": ("Llama", {"num_key_value_heads": 4}),
}


def reference(case: str):
    """A small transformers model of the case with random weights, biases and norms included."""
    family, extra = CASES[case]
    config = getattr(transformers, f"{family}Config")(**(SHAPE | extra), attn_implementation="eager")
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    randomise(model)
    return model


def randomise(model: torch.nn.Module) -> None:
    generator = seeds.torch_generator(3, "tests/transformers")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.2, generator=generator)


def tokens() -> torch.Tensor:
    return torch.randint(0, SHAPE["vocab_size"], (2, 50), generator=seeds.torch_generator(4, "tests/ids"))


@pytest.mark.parametrize("case", CASES)
def test_logits_of_a_transformers_checkpoint_agree(case, tmp_path):
    theirs = reference(case)
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    with torch.no_grad():
        difference = (ours(tokens()) - theirs(tokens()).logits).abs().max()
    assert difference < 1e-4


@pytest.mark.parametrize("case", CASES)
def test_transformers_loads_what_is_saved_here(case, tmp_path):
    document = reference(case).config.to_dict() | {"architectures": [f"{CASES[case][0]}ForCausalLM"]}
    ours = Decoder(ModelConfig.from_hf(document)).eval()
    randomise(ours)
    save_model(ours, tmp_path / "saved")
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "saved", output_loading_info=True, dtype=torch.float32
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert read_config(tmp_path / "saved") == ours.config
    with torch.no_grad():
        difference = (ours(tokens()) - theirs.eval()(tokens()).logits).abs().max()
    assert difference < 1e-4


def test_balancing_loss_of_one_layer_is_that_of_transformers(tmp_path):
    from transformers.models.qwen3_moe.modeling_qwen3_moe import load_balancing_loss_func

    theirs = reference("moe normalised")
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path).train()
    block = ours.model.layers[1].mlp
    routed = []
    block.gate.register_forward_hook(lambda module, inputs, output: routed.append(output.detach()))
    ours(tokens())
    expected = load_balancing_loss_func((routed[0],), EXPERTS["num_experts"], EXPERTS["num_experts_per_tok"])
    assert torch.allclose(block.balance, expected, rtol=1e-5)
