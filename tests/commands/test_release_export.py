"""A Hugging Face checkpoint adopted, trained whole and by adapters, released, exported, and read by others again."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
import torch
from processes import clean_environment
from safetensors.torch import load_file, save_file
from tiny_run import make_model_dir, make_shards, story

from clet import seeds
from clet.model.checkpoint import load_model
from clet.model.vocabulary import tokenizer_config, train_vocabulary

RUN_LINES = """
import json, shlex, sys
from clet.cli import run
for line in json.load(sys.stdin):
    print(run(shlex.split(line)), line, sep="\\t", file=sys.stderr, flush=True)
"""
SHAPE = {
    "vocab_size": 400, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": None, "eos_token_id": 0,
}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "norm_topk_prob": True}
CASES = {
    "Llama": ({"tie_word_embeddings": False}, torch.bfloat16, "40KB"),
    "Qwen2": ({"tie_word_embeddings": True}, torch.float32, "5GB"),
    "Qwen3": ({"tie_word_embeddings": True, "head_dim": 16}, torch.bfloat16, "5GB"),
    "Qwen3Moe": (EXPERTS | {"tie_word_embeddings": False, "head_dim": 16}, torch.float32, "40KB"),
}
TEXTS = [story(i) for i in range(24)]


def clet(place: Path, *lines: str) -> tuple[list[int], bytes, list[str]]:
    """Runs command lines one after another in one process: (statuses, stdout, the other lines of stderr)."""
    done = subprocess.run(
        [sys.executable, "-c", RUN_LINES], input=orjson.dumps(lines), cwd=place, capture_output=True,
        env=clean_environment(), timeout=300,
    )  # fmt: skip
    told = done.stderr.decode().splitlines()
    statuses = [int(line.split("\t")[0]) for line in told if line.partition("\t")[2] in lines]
    return statuses, done.stdout, [line for line in told if line.partition("\t")[2] not in lines]


def publish(place: Path, family: str) -> None:
    """`hf`: a checkpoint as transformers writes it, with a tokenizer of 400 ids at most."""
    transformers = pytest.importorskip("transformers")
    extra, dtype, shard_size = CASES[family]
    model = getattr(transformers, f"{family}ForCausalLM")(getattr(transformers, f"{family}Config")(**(SHAPE | extra)))
    generator = seeds.torch_generator(3, "tests/export")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.1, generator=generator)
    model.to(dtype).save_pretrained(place / "hf", max_shard_size=shard_size)
    (place / "hf" / "tokenizer.json").write_text(train_vocabulary(TEXTS, 380))
    (place / "hf" / "tokenizer_config.json").write_text(json.dumps(tokenizer_config(64)))


def their_logits(directory: Path, ids: torch.Tensor) -> torch.Tensor:
    import transformers

    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        directory, output_loading_info=True, dtype=torch.float32
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    with torch.no_grad():
        return model.eval()(ids).logits


@pytest.mark.parametrize("family", CASES)
def test_an_adopted_checkpoint_trains_releases_and_loads_back(family, tmp_path):
    publish(tmp_path, family)
    assert (tmp_path / "hf" / "model.safetensors.index.json").exists() == (CASES[family][2] == "40KB")
    make_shards(tmp_path / "shards", TEXTS, model=tmp_path / "hf")
    settings = "--tokens 600 --batch-size 4 --warmup 2 --lr 5e-3 -j 1"
    statuses, _, told = clet(
        tmp_path,
        "init model --from hf",
        f"train shards --model model --run full {settings}",
        f"train shards --model model --run few --lora 4 --lora-base stored {settings}",
        "audit full --verify",
        "audit few --verify",
        "release export full -o full-hf",
        "release export few 1 -o few-half --dtype bfloat16",
        "release export few realtime --adapter -o adapter",
        "release export full --adapter -o nothing",
        "release export few -o full-hf",
    )
    assert statuses == [0] * 8 + [2, 2], told
    assert any("full: 1 has no adapters" in line for line in told)
    ids = torch.randint(0, 380, (2, 30), generator=seeds.torch_generator(4, "tests/export"))
    base = their_logits(tmp_path / "hf", ids)
    for run in ("full", "few"):
        release = tmp_path / run / "releases" / "1"
        with torch.no_grad():
            ours = load_model(release)(ids)
        assert (ours - their_logits(release, ids)).abs().max() < 1e-5
        assert (ours - base).abs().max() > 1e-2
    assert torch.equal(their_logits(tmp_path / "full-hf", ids), their_logits(tmp_path / "full" / "releases" / "1", ids))
    halves, wholes = (load_file(tmp_path / at / "model.safetensors") for at in ("few-half", "few/releases/1"))
    assert all(torch.equal(halves[name], whole.bfloat16()) for name, whole in wholes.items())
    assert torch.isfinite(their_logits(tmp_path / "few-half", ids)).all()
    facts = orjson.loads((tmp_path / "few" / "releases" / "1" / "release.json").read_bytes())
    told_there = orjson.loads((tmp_path / "few-half" / "exported.json").read_bytes())
    assert told_there["weights"] == facts["weights"] and told_there["dtype"] == "bfloat16"

    peft = pytest.importorskip("peft")
    import transformers

    whole = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32)
    with torch.no_grad():
        adapted = peft.PeftModel.from_pretrained(whole, tmp_path / "adapter").eval()(ids).logits
    assert (adapted - ours).abs().max() < 1e-5


def test_a_release_becomes_one_file_for_llama_cpp(tmp_path):
    gguf = pytest.importorskip("gguf")
    publish(tmp_path, "Qwen3")
    make_shards(tmp_path / "shards", TEXTS, model=tmp_path / "hf")
    statuses, out, told = clet(
        tmp_path,
        "train shards --model hf --run run --lora 4 --tokens 300 --batch-size 4 -j 1 -q",
        "release export run --gguf run.gguf --dtype q8_0",
        "release export hf --gguf hf.gguf",
        "release export run --gguf run.gguf --adapter",
        "release export run -o there --dtype q8_0",
        "release export hf 1 -o there",
        "release export run",
    )
    assert statuses == [0, 0, 0, 2, 2, 2, 2], told
    line = next(orjson.loads(line) for line in out.splitlines() if b'"gguf"' in line)
    assert (line["path"], line["dtype"], line["number"]) == ("run.gguf", "q8_0", 1)
    reader = gguf.GGUFReader(tmp_path / "run.gguf")
    assert reader.fields["clet.weights"].contents() == line["weights"]
    assert reader.fields["general.name"].contents() == "run-1"
    adopted = {tensor.tensor_type for tensor in gguf.GGUFReader(tmp_path / "hf.gguf").tensors if len(tensor.shape) > 1}
    assert adopted == {gguf.GGMLQuantizationType.BF16}


def test_export_to_a_full_disk_is_74_and_leaves_nothing(tmp_path):
    pytest.importorskip("gguf")
    make_model_dir(tmp_path / "model")
    (tmp_path / "file").write_text("")
    statuses, _, told = clet(tmp_path, "release export model -o file/there", "release export model --adapter -o there")
    assert statuses == [74, 2] and len(told) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "model"]


def damaged(place: Path, name: str) -> Path:
    """A copy of `model` to spoil."""
    shutil.copytree(place / "model", place / name)
    return place / name


def test_what_is_no_checkpoint_is_one_line_and_65(tmp_path):
    make_model_dir(tmp_path / "model")
    make_shards(tmp_path / "shards", TEXTS[:4], model=tmp_path / "model")

    config = damaged(tmp_path, "architecture") / "config.json"
    config.write_text(config.read_text().replace("Qwen3ForCausalLM", "MambaForCausalLM"))
    pickled = damaged(tmp_path, "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    (damaged(tmp_path, "untokenised") / "tokenizer.json").unlink()
    weights = damaged(tmp_path, "shapes") / "model.safetensors"
    tensors = load_file(weights)
    tensors["model.norm.weight"] = torch.ones(31)
    save_file(tensors, weights, metadata={"format": "pt"})
    (damaged(tmp_path, "header") / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 40) + b"{}")
    cut = damaged(tmp_path, "cut") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-1])
    small = damaged(tmp_path, "vocabulary")
    make_model_dir(small, vocab_size=200)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")

    words = {
        "architecture": "architecture MambaForCausalLM is not supported",
        "pickled": "write safetensors with transformers' save_pretrained",
        "untokenised": "tokenizer.json",
        "shapes": "model.norm.weight has shape [31], config.json says [32]",
        "header": "not a whole safetensors file",
        "cut": "not a whole safetensors file",
        "vocabulary": "uses 257 ids, the model has 200",
        "adapter": "an adapter without the model it belongs to",
    }
    lines = [
        line
        for name in words
        for line in (f"init new-{name} --from {name}", f"train shards --model {name} --run r-{name}")
    ]
    statuses, out, told = clet(tmp_path, *lines)
    assert statuses == [65] * len(lines) and out == b"", list(zip(lines, statuses, strict=True))
    assert len(told) == len(lines)
    for line, name in zip(told, (name for name in words for _ in range(2)), strict=True):
        assert words[name] in line, line
    assert not list(tmp_path.glob("new-*")) and not list(tmp_path.glob("r-*/run.json"))
