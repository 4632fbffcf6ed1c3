"""Model directories: whole, deterministic, and refused in one line when they are not what they say."""

from __future__ import annotations

import json
import os
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from clet.exits import InputError, WriteError
from clet.model.checkpoint import load_model, read_config, save_model, state_root


@pytest.fixture
def saved(tiny, tmp_path):
    save_model(tiny(), tmp_path / "model")
    return tmp_path / "model"


def rewrite(directory, change) -> None:
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def reconfigure(directory, **changes) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def shard(directory, names=("part-1.safetensors", "part-2.safetensors")) -> None:
    """Split the weights in two files with an index, as large models are published."""
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    weight_map = {name: names[i % 2] for i, name in enumerate(sorted(tensors))}
    for part in names:
        save_file({n: t for n, t in tensors.items() if weight_map[n] == part}, directory / part)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize("changes", [{}, {"tie_embeddings": False}, {"num_experts": 4}])
def test_saving_and_loading_is_the_identity(tiny, tmp_path, changes):
    model = tiny(**changes)
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert again.config == model.config
    assert state_root(again) == state_root(model)


def test_bytes_depend_on_the_weights_alone(tiny, tmp_path):
    save_model(tiny(), tmp_path / "a")
    save_model(tiny(), tmp_path / "b")
    for name in sorted(path.name for path in (tmp_path / "a").iterdir()):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert sorted(os.listdir(tmp_path / "b")) == ["config.json", "generation_config.json", "model.safetensors"]


def test_root_changes_with_any_bit_and_with_the_type(tiny):
    model = tiny()
    roots = {state_root(model), state_root(tiny().bfloat16())}
    model.model.layers[1].mlp.up_proj.weight.data[3, 4] *= 1.0000001
    roots.add(state_root(model))
    assert len(roots) == 3


def test_a_loaded_model_trains_and_outlives_its_file(saved, random_ids):
    model = load_model(saved)
    (saved / "model.safetensors").write_bytes(b"")
    model(random_ids(1, 4)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_shards_with_an_index_load_alike(saved):
    root = state_root(load_model(saved))
    shard(saved)
    assert state_root(load_model(saved)) == root


def test_half_precision_weights_are_widened_and_kept_on_request(tiny, tmp_path):
    save_model(tiny().bfloat16(), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert load_model(tmp_path).head_weight.dtype == torch.float32
    assert load_model(tmp_path, dtype=torch.bfloat16).head_weight.dtype == torch.bfloat16


def test_tokenizer_files_travel_with_the_model(tiny, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "notes.txt"):
        (source / name).write_text(name)
    save_model(tiny(), tmp_path / "model", source_dir=source)
    assert (tmp_path / "model" / "chat_template.jinja").read_text() == "chat_template.jinja"
    assert not (tmp_path / "model" / "notes.txt").exists()


def test_a_head_that_repeats_the_embedding_is_accepted_another_is_refused(saved):
    rewrite(saved, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    load_model(saved)
    rewrite(saved, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"] + 1}))
    with pytest.raises(InputError, match="tie_word_embeddings"):
        load_model(saved)


def test_pickles_are_refused_unopened(saved):
    (saved / "model.safetensors").unlink()
    (saved / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    with pytest.raises(InputError, match="pickled weights can run code"):
        load_model(saved)


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_truncated_weights_are_refused(saved, keep):
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load_model(saved)


def test_a_header_that_points_outside_is_refused(saved):
    header = json.dumps({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 1 << 40]}}).encode()
    (saved / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_model(saved)


def test_missing_unexpected_misshapen_and_mistyped_tensors_are_named(saved):
    name = "model.layers.1.mlp.up_proj.weight"
    original = (saved / "model.safetensors").read_bytes()
    cases = [
        (lambda t: t.pop(name), f"missing, the first is {name}"),
        (lambda t: t.update({"model.extra": torch.zeros(1)}), "unexpected tensor 'model.extra'"),
        (lambda t: t.update({name: torch.zeros(2, 3)}), rf"{name} has shape \[2, 3\]"),
        (lambda t: t.update({name: t[name].to(torch.float64)}), f"{name} has type F64"),
    ]
    for change, message in cases:
        (saved / "model.safetensors").write_bytes(original)
        rewrite(saved, change)
        with pytest.raises(InputError, match=message):
            load_model(saved)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/x.safetensors", "a/b.safetensors", "weights.bin", ""])
def test_an_index_cannot_leave_its_directory(saved, name):
    shard(saved)
    index = {"weight_map": {"model.norm.weight": name}}
    (saved / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="is not a safetensors file of this directory"):
        load_model(saved)


def test_a_shard_that_is_missing_is_named(saved):
    shard(saved)
    (saved / "part-2.safetensors").unlink()
    with pytest.raises(InputError, match=r"part-2\.safetensors"):
        load_model(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["GemmaForCausalLM"]}, "GemmaForCausalLM is not supported"),
        ({"quantization_config": {"bits": 4}}, "quantised weights are not supported"),
        ({"use_sliding_window": True}, "sliding window"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "'yarn' is not supported"),
        ({"hidden_act": "gelu"}, "'gelu' is not supported"),
        ({"hidden_size": 10**12}, "hidden_size is 1000000000000"),
        ({"num_hidden_layers": "2"}, "num_layers is '2'"),
        ({"num_hidden_layers": True}, "num_layers is True"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps is nan"),
        ({"vocab_size": None}, "vocab_size is missing"),
        ({"num_key_value_heads": 3}, "cannot share 3"),
        ({"eos_token_id": 97}, "not all in a vocabulary of 97"),
    ],
)
def test_a_configuration_that_cannot_be_run_is_named_with_its_file(saved, changes, message):
    reconfigure(saved, **changes)
    with pytest.raises(InputError, match=f"config.json: .*{message}"):
        read_config(saved)


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": "' + b"x" * (5 << 20) + b'"}']
)
def test_a_config_that_is_no_small_json_object_is_refused(saved, content):
    (saved / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=r"config\.json"):
        read_config(saved)


def test_a_directory_without_a_model_says_so(tmp_path):
    with pytest.raises(InputError, match="is this a model directory"):
        load_model(tmp_path)


def test_failed_write_leaves_the_old_file_and_no_remains(tiny, saved, monkeypatch):
    before = (saved / "model.safetensors").read_bytes()
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    model = tiny()
    model.model.norm.weight.data.zero_()
    with pytest.raises(WriteError, match="No space left"):
        save_model(model, saved)
    assert (saved / "model.safetensors").read_bytes() == before
    assert not [path for path in saved.iterdir() if ".tmp-" in path.name]
