"""New directories are a function of corpus, shape and seed; adopted ones are exact copies of what passed the checks."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from tokenizers import Tokenizer

from clet.exits import InputError, UsageError
from clet.model.checkpoint import load_model, save_model, state_root
from clet.model.config import QWEN3_MOE
from clet.model.initialise import adopt, create, initialise
from clet.model.presets import PRESETS, preset_config
from clet.model.vocabulary import SPECIAL_TOKENS, num_tokens, train_vocabulary

CORPUS = [
    "The council voted on Tuesday to close the bridge for repairs until the end of March.",
    "def total(values):\n    return sum(values) + 1\n",
    "Der Rat stimmte f\u00fcr die Sperrung; \u6a4b\u306f\u4e09\u6708\u672b\u307e\u3067\u9589\u9396\u3055\u308c\u308b.",
] * 20

ODD = [
    "",
    " ",
    "\n\n\t  x \r\n",
    "tab\tand  spaces   ",
    "\u00e9 e\u0301 \ufb01 \u212b",  # composed and decomposed forms must not be merged into one
    "\U0001f9ea\u200d\u2642\ufe0f \u202e\u0007\x00",
    "<|endoftext|> 2026-03-01 3.14159",
    "\ufffd\uffff",
]


def test_any_text_comes_back_from_its_ids():
    tokenizer = Tokenizer.from_str(train_vocabulary(CORPUS, 400))
    for text in ODD + CORPUS[:3]:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_vocabulary_has_the_special_tokens_first_and_no_more_ids_than_asked():
    content = train_vocabulary(CORPUS, 300)
    tokenizer = Tokenizer.from_str(content)
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2]
    assert num_tokens(content) == tokenizer.get_vocab_size() == 300
    longer = Tokenizer.from_str(train_vocabulary(CORPUS, 500))
    assert len(longer.encode(CORPUS[0]).ids) < len(tokenizer.encode(CORPUS[0]).ids)


@pytest.mark.parametrize("size", [100, 1 << 21])
def test_impossible_vocabulary_size_is_a_usage_error(size):
    with pytest.raises(UsageError, match="choose 259 to"):
        train_vocabulary(CORPUS, size)


def test_corpus_without_text_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="no text"):
        create(tmp_path / "model", "pico", ["", ""], 300, seed=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("moe", [False, True])
def test_same_corpus_and_seed_give_the_same_bytes(tmp_path, moe):
    made = [create(tmp_path / name, "pico", iter(CORPUS), 320, seed=5, moe=moe) for name in "ab"]
    assert made[0] == made[1]
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= set(names)
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    model = load_model(tmp_path / "a")
    assert model.config.eos_token_ids == (0, 2)
    create(tmp_path / "c", "pico", iter(CORPUS), 320, seed=6, moe=moe)
    assert state_root(load_model(tmp_path / "c")) != state_root(model)


def test_created_tokenizer_loads_in_transformers_with_its_chat_template(tmp_path):
    transformers = pytest.importorskip("transformers")
    create(tmp_path / "model", "pico", CORPUS, 320, seed=1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|endoftext|>", 0)
    reference = Tokenizer.from_file(str(tmp_path / "model" / "tokenizer.json"))
    for text in CORPUS[:3] + ODD[:5]:
        assert tokenizer(text)["input_ids"] == reference.encode(text).ids
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, tokenize=False
    )
    assert chat == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("kind", ["file", "full folder"])
def test_a_target_with_something_in_it_is_refused_untouched(tmp_path, kind):
    target = tmp_path / "model"
    if kind == "file":
        target.write_text("mine")
    else:
        target.mkdir()
        (target / "mine").write_text("mine")
    with pytest.raises(UsageError, match="name a new one"):
        create(target, "pico", CORPUS, 300, seed=1)
    assert "mine" in (target if kind == "file" else target / "mine").read_text()


def test_an_empty_target_folder_is_filled_and_stays_the_same_folder(tmp_path, monkeypatch):
    target = tmp_path / "model"
    (target / ".clet-init-1" / "half").mkdir(parents=True)  # what a killed run leaves
    inode = target.stat().st_ino
    monkeypatch.chdir(target)
    create(".", "pico", CORPUS, 300, seed=1)
    assert target.stat().st_ino == inode
    assert load_model(target).config.vocab_size == 300
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(("name", "millions"), [("pico", 2), ("nano", 4), ("micro", 10), ("small", 50), ("base", 596)])
def test_presets_have_their_size_and_their_moe_the_same_active_parameters(name, millions):
    dense, sparse = preset_config(name), preset_config(name, moe=True)
    assert dense.num_parameters() == pytest.approx(millions * 1e6, rel=0.04)
    assert sparse.architecture == QWEN3_MOE
    assert sparse.num_parameters(active=True) == pytest.approx(dense.num_parameters(), rel=0.02)
    assert all(size % 64 == 0 for size in (dense.hidden_size, dense.intermediate_size, sparse.moe_intermediate_size))


def test_parameter_count_is_that_of_the_model(tiny):
    for changes in ({}, {"tie_embeddings": False, "qkv_bias": True}, {"num_experts": 4, "mlp_only_layers": (0,)}):
        model = tiny(**changes)
        assert model.config.num_parameters() == sum(p.numel() for p in model.parameters())


def test_unknown_preset_is_a_usage_error():
    with pytest.raises(UsageError, match="choose one of pico, nano"):
        preset_config("huge")
    assert set(PRESETS) == {"pico", "nano", "micro", "small", "base"}


def test_initial_weights_have_their_documented_spread(tiny):
    model = tiny(hidden_size=128, intermediate_size=256)
    initialise(model, 1)
    layer = model.model.layers[0]
    assert layer.mlp.up_proj.weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert layer.mlp.down_proj.weight.std().item() == pytest.approx(0.02 / 2, rel=0.03)
    assert torch.equal(layer.self_attn.q_norm.weight, torch.ones(16))


def test_initial_weights_do_not_depend_on_other_parts_of_the_shape(tiny):
    shallow, deep = tiny(num_layers=1), tiny(num_layers=3)
    initialise(shallow, 1)
    initialise(deep, 1)
    assert torch.equal(shallow.model.layers[0].mlp.up_proj.weight, deep.model.layers[0].mlp.up_proj.weight)


@pytest.fixture
def source(tiny, tmp_path):
    """A directory as somebody else publishes it: bfloat16, with a tokenizer and files that are not ours to take."""
    folder = tmp_path / "source"
    save_model(tiny(vocab_size=320).bfloat16(), folder)
    (folder / "tokenizer.json").write_text(train_vocabulary(CORPUS, 300))
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    return folder


def test_adopted_weights_are_copied_byte_for_byte_with_their_hashes(source, tmp_path):
    made = adopt(source, tmp_path / "model")
    assert made.num_tokens == 300
    for name, digest in made.hashes.items():
        body = (tmp_path / "model" / name).read_bytes()
        assert body == (source / name).read_bytes()
        assert hashlib.sha256(body).hexdigest() == digest
    assert json.loads((tmp_path / "model" / "adopted.json").read_text())["sha256"] == made.hashes
    assert not (tmp_path / "model" / "modeling_evil.py").exists()
    assert state_root(load_model(tmp_path / "model")) == state_root(load_model(source))


def test_adoption_refuses_what_it_cannot_run(source, tmp_path):
    config = source / "config.json"
    good = config.read_text()
    config.write_text(good.replace("Qwen3ForCausalLM", "MistralForCausalLM"))
    with pytest.raises(InputError, match="MistralForCausalLM is not supported"):
        adopt(source, tmp_path / "model")
    config.write_text(good)
    (source / "tokenizer.json").write_text(train_vocabulary(CORPUS, 330))
    with pytest.raises(InputError, match="uses 330 ids, the model has 320"):
        adopt(source, tmp_path / "model")
    (source / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="not a Hugging Face fast tokenizer"):
        adopt(source, tmp_path / "model")
    (source / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="missing"):
        adopt(source, tmp_path / "model")
    (source / "model.safetensors").rename(source / "pytorch_model.bin")
    with pytest.raises(InputError, match="pickled"):
        adopt(source, tmp_path / "model")
    assert not (tmp_path / "model").exists()
