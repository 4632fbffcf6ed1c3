"""The CUDA paths of model and trainer against the CPU ones, which the rest of the tests hold to transformers."""

import json
import shutil
import subprocess

import pytest
import torch
from processes import CLET, clean_environment
from torch.nn.attention.flex_attention import BlockMask

from clet.model.attention import attention_scope, segment_mask
from clet.model.cache import KVCache
from clet.model.decoder import Decoder, token_losses
from clet.model.initialise import initialise
from clet.model.presets import preset_config

pytestmark = pytest.mark.gpu


@pytest.fixture(params=[False, True], ids=["dense", "moe"])
def pair(request):
    """One model twice: on the CPU and on the GPU, with a batch of packed windows."""
    model = Decoder(preset_config("pico", vocab_size=512, moe=request.param))
    initialise(model, 1)
    twin = Decoder(model.config)
    twin.load_state_dict(model.state_dict())
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(0, 512, (3, 96), generator=generator)
    segments = torch.arange(96).div(40, rounding_mode="floor").expand(3, 96).contiguous()
    return model, twin.cuda(), ids, segments


def test_losses_and_gradients_equal_those_of_the_cpu(pair):
    model, twin, ids, segments = pair
    for each, device in ((model, "cpu"), (twin, "cuda")):
        nll, weight = token_losses(
            each, ids.to(device), segments.to(device), torch.ones_like(ids, dtype=bool).to(device)
        )
        (nll.sum() / weight.sum()).backward()
    for (name, a), b in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad.cpu(), rtol=1e-3, atol=1e-5, msg=name)


def test_packed_windows_take_flex_attention_and_a_mask_gives_the_same(pair, monkeypatch):
    _, twin, ids, segments = pair
    ids, segments = ids.cuda(), segments.cuda()
    assert isinstance(attention_scope(segments), BlockMask)
    found = []
    for scope in (attention_scope, segment_mask):
        monkeypatch.setattr("clet.model.decoder.attention_scope", scope)
        twin.zero_grad(set_to_none=True)
        nll, weight = token_losses(twin, ids, segments)
        (nll.sum() / weight.sum()).backward()
        found.append([parameter.grad for parameter in twin.parameters()])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=1e-5)


def test_greedy_decoding_from_the_cache_equals_the_full_forward(pair):
    _, twin, ids, _ = pair
    twin.eval()
    with torch.inference_mode():
        cache = KVCache(twin.config, num_slots=3, max_len=128, device="cuda")
        ids = ids[:, :20].cuda()
        logits = twin(ids, cache=cache.view([0, 1, 2], [0, 0, 0]), last_only=True)
        for length in range(20, 40):
            token = logits[:, -1].argmax(-1, keepdim=True)
            ids = torch.cat([ids, token], 1)
            logits = twin(token, cache=cache.view([0, 1, 2], [length] * 3), last_only=True)
            torch.testing.assert_close(logits[:, -1], twin(ids)[:, -1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_training_on_the_gpu_lowers_the_loss_and_releases(workshop, tmp_path, dtype):
    shutil.copytree(workshop, tmp_path, dirs_exist_ok=True, symlinks=True)
    command = f"train shards --model model --run gpu --epochs 6 --batch-size 2 --device cuda --dtype {dtype}"
    done = subprocess.run(
        [CLET, *command.split()], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    losses = [line["loss"] for line in map(json.loads, done.stdout.splitlines()) if "loss" in line]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert (tmp_path / "gpu" / "live" / "model.safetensors").exists()
