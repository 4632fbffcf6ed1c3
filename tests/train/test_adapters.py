"""A run that trains adapters: what it saves and releases, that it resumes exactly, and what it refuses."""

from __future__ import annotations

import json
import threading

import pytest
import torch
from safetensors.torch import load_file
from tiny_run import make_model_dir, step_lines, story

from clet.exits import UsageError
from clet.model.adapter import read_adapter
from clet.model.checkpoint import load_model, state_root
from clet.release import read_release
from clet.sync.weights import layout_of
from clet.train.provenance import verify

FORM = {"lora": 4, "lora_targets": "attention", "lora_alpha": 6.0}


def saved_tensors(run, group):
    heads = {json.loads((run / "state" / s / "state.json").read_bytes().splitlines()[0])["generation"]: s for s in "ab"}
    return load_file(run / "state" / heads[max(heads)] / f"{group}.safetensors")


def test_the_state_is_the_adapters_and_their_moments(stories, learn, tmp_path):
    learn(stories, run=tmp_path / "run", tokens=400, **FORM)
    weights, moments = (saved_tensors(tmp_path / "run", group) for group in ("weights", "moments"))
    assert len(weights) == 2 * 4 * 2 and all(name.endswith((".lora_A", ".lora_B")) for name in weights)
    owners = {name.rpartition("/")[0] for name in moments if name.endswith(("exp_avg", "exp_avg_sq"))}
    assert owners == weights.keys() and sum(t.numel() for t in moments.values()) < 2.1 * 1792 + 50
    assert sum(tensor.numel() for tensor in weights.values()) == 2 * 4 * (64 + 48 + 48 + 64)


def test_a_release_is_the_merged_model_and_the_adapters_beside_it(stories, learn, model_dir, tmp_path):
    learn(stories, run=tmp_path / "run", lora_rs=True, **FORM)
    release = read_release(tmp_path / "run", 1)
    base, whole = load_model(model_dir), load_model(release.path)
    state, config = read_adapter(release.path / "adapter")
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (4, 6.0, True)
    assert config["base_model_name_or_path"] == str(model_dir.resolve())
    for name, weight in base.state_dict().items():
        now = whole.state_dict()[name]
        if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight")):
            stem = f"base_model.model.{name.removesuffix('.weight')}"
            a, b = state[f"{stem}.lora_A.weight"], state[f"{stem}.lora_B.weight"]
            assert torch.allclose(now, weight + 3.0 * b @ a, atol=1e-6) and not torch.equal(now, weight)
        else:
            assert torch.equal(now, weight)
    assert release.facts["weights"] == state_root(whole)
    assert verify(tmp_path / "run", release) == []


def test_changed_adapters_of_a_release_do_not_verify(stories, learn, tmp_path):
    learn(stories, run=tmp_path / "run", tokens=400, **FORM)
    release = read_release(tmp_path / "run", 1)
    path = release.path / "adapter" / "adapter_model.safetensors"
    body = bytearray(path.read_bytes())
    body[-1] ^= 1
    path.write_bytes(body)
    (wrong,) = verify(tmp_path / "run", release)
    assert "release.json: adapter " in wrong


@pytest.mark.parametrize(("base", "optimizer"), [("float32", "adamw"), ("stored", "adamw"), ("stored", "muon")])
def test_an_interrupted_run_ends_with_the_undisturbed_ones_weights(
    stories, learn, model_dir, tmp_path, base, optimizer
):
    source = tmp_path / "bf16"
    make_model_dir(source)
    from clet.model.checkpoint import save_model

    save_model(load_model(model_dir, torch.bfloat16), source)
    form = FORM | {"lora_base": base, "optimizer": optimizer}
    whole = learn(stories, run=tmp_path / "whole", model=source, **form)

    def interrupt(fields, stop: threading.Event):
        if fields.get("step") == 7:
            stop.set()

    first = learn(stories, run=tmp_path / "run", model=source, on_event=interrupt, **form)
    second = learn(stories, run=tmp_path / "run", model=source)
    assert first.losses | second.losses == whole.losses and not first.named("release")
    assert step_lines(tmp_path / "run") == step_lines(tmp_path / "whole")
    facts = [read_release(tmp_path / name, 1).facts for name in ("whole", "run")]
    assert facts[0]["weights"] == facts[1]["weights"] and facts[0]["adapter"] == facts[1]["adapter"]


def test_a_stored_base_learns_as_a_wide_one(stories, learn, model_dir, tmp_path):
    from clet.model.checkpoint import save_model

    make_model_dir(tmp_path / "bf16")
    save_model(load_model(model_dir, torch.bfloat16), tmp_path / "bf16")
    roots = set()
    for base in ("float32", "stored"):
        learn(stories, run=tmp_path / base, model=tmp_path / "bf16", tokens=600, lora_base=base, **FORM)
        facts = read_release(tmp_path / base, 1).facts
        roots.add((facts["weights"], facts["base"]))
    assert len(roots) == 1


def test_losses_fall_while_the_base_stays(stories, learn, model_dir, tmp_path):
    before = state_root(load_model(model_dir))
    events = learn(stories, run=tmp_path / "run", epochs=4, lora=8, lr=1e-2)
    losses = list(events.losses.values())
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 0.3
    assert state_root(load_model(model_dir)) == before


@pytest.mark.parametrize(
    ("began", "now", "words"),
    [
        (FORM, {"lora": 8}, "begun with --lora 4"),
        (FORM, {"lora_rs": True}, "begun without --lora-rs"),
        (FORM, {"lora_targets": "all"}, "begun with --lora-targets attention"),
        ({}, {"lora": 8}, "begun without --lora"),
    ],
)
def test_another_form_of_adapters_is_another_run(stories, make_shards, learn, tmp_path, began, now, words):
    learn(stories, run=tmp_path / "run", tokens=100, **began)
    with pytest.raises(UsageError, match=words):
        learn(stories, run=tmp_path / "run", **now)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"lora_alpha": 4.0}, "need --lora R"),
        ({"lora_targets": "attention"}, "need --lora R"),
        ({"lora": 0}, "not a rank"),
        ({"lora": 4, "lora_alpha": 0.0}, "not between"),
        ({"lora": 4, "lora_base": "int8"}, "choose one of float32, stored"),
        ({"lora": 4, "lora_targets": "lm_head"}, "adapters stand beside"),
        ({"lora": 17}, "of rank 16 itself"),
    ],
)
def test_what_makes_no_sense_is_refused_before_a_run_begins(stories, learn, tmp_path, given, words):
    with pytest.raises(UsageError, match=words):
        learn(stories, run=tmp_path / "run", **given)
    assert not (tmp_path / "run" / "run.json").exists()


def test_adapters_are_not_exchanged_as_whole_weights(model_dir):
    from clet.model.lora import LoraConfig, attach

    model = load_model(model_dir)
    attach(model, LoraConfig(4, 8.0), seed=1)
    with pytest.raises(UsageError, match="without --lora"):
        layout_of(model)


def test_a_run_goes_on_after_new_shards_from_its_adapters(stories, make_shards, learn, tmp_path):
    learn(stories, run=tmp_path / "run", **FORM)
    make_shards(stories, [story(i) for i in range(100, 112)], day=2)
    learn(stories, run=tmp_path / "run")
    one, two = (read_release(tmp_path / "run", n) for n in (1, 2))
    assert two.facts["base"] == one.facts["base"] and two.facts["weights"] != one.facts["weights"]
    assert verify(tmp_path / "run", two) == []
