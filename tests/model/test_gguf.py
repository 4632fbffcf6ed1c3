"""GGUF files: read by transformers and, where it is installed, by llama.cpp itself, they answer as the model does."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from clet import seeds
from clet.exits import InputError, WriteError
from clet.model.checkpoint import save_model
from clet.model.config import LLAMA, QWEN2, QWEN3_MOE, Llama3Rope, ModelConfig
from clet.model.decoder import Decoder
from clet.model.gguf import check_architecture, export_gguf
from clet.model.gguf_tokenizer import CONTROL, NORMAL, UNUSED, USER_DEFINED, read_tokenizer
from clet.model.vocabulary import CHAT_TEMPLATE, SPLIT, tokenizer_config, train_vocabulary

gguf = pytest.importorskip("gguf")

TEXTS = [
    "It's 25 degrees, and they'll say 'WE'VE seen 1,000,000 of them'.\n\n\tdef f(x):\n\t\treturn x  # two\r\n",
    "Der Zug fährt um 17:45 Uhr — 3,50 € für Studenten; größer als je zuvor…   \n   Ende.",
    "Le café d'été coûte 4 €. L'œuvre n'est pas finie !",
    "这是一个测试,价格是100元。今天天气很好。\n日本語のテキストです。한국어 문장입니다.",
    "Привет, мир! Это тест номер 42. مرحبا بالعالم ١٢٣ नमस्ते दुनिया १२३ สวัสดีชาวโลก",
    "emoji: \U0001f98a\U0001f469\u200d\U0001f680 \u2764\ufe0f and \u00a0 spaces \u2003 here\u3000.   ",
    "x = {'a': [1, 2.5e-3], \"b\": None}  # <|endoftext|> is text here\n\n\n    if x == y:\n        pass\n",
]
CASES = {
    "qwen3": {},
    "qwen3 untied, wide heads": {"tie_embeddings": False, "head_dim": 32},
    "qwen2": {"architecture": QWEN2, "qk_norm": False, "qkv_bias": True},
    "llama": {"architecture": LLAMA, "qk_norm": False, "tie_embeddings": False},
    "llama all biases": {"architecture": LLAMA, "qk_norm": False, "qkv_bias": True, "attention_output_bias": True},
    "llama3 rotary": {
        "architecture": LLAMA,
        "qk_norm": False,
        "rope_theta": 5e5,
        "rope_scaling": Llama3Rope(8.0, 1.0, 4.0, 16),
    },
    "experts": {
        "architecture": QWEN3_MOE,
        "num_experts": 6,
        "num_experts_per_token": 2,
        "moe_intermediate_size": 32,
        "tie_embeddings": False,
    },
}
PRE_TOKENIZERS = {
    "qwen2": (False, [("Split", SPLIT)], False),
    "llama-bpe": (True, [("Split", SPLIT.replace(r"|\p{N}|", r"|\p{N}{1,3}|"))], False),
    "dbrx": (False, [("Split", SPLIT.replace(r"|\p{N}|", r"|\p{N}{1,3}|"))], False),
    "gpt-2": (False, [], True),
    "smollm": (False, [("Digits", None)], True),
}


def make(directory, changes={}, dtype=torch.float32):
    """A random model of 600 ids with a vocabulary learned from TEXTS, and its directory."""
    shape = {"vocab_size": 600, "hidden_size": 64, "intermediate_size": 96, "num_layers": 2, "num_heads": 4}
    shape |= {"num_kv_heads": 2, "head_dim": 16, "max_positions": 256, "eos_token_ids": (0, 2)}
    model = Decoder(ModelConfig(**(shape | changes))).eval()
    generator = seeds.torch_generator(3, "tests/gguf")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if name.endswith("norm.weight") else 0.0, 0.15, generator=generator)
    model.to(dtype)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "tokenizer.json").write_text(train_vocabulary(TEXTS, 560))
    (directory / "tokenizer_config.json").write_text(json.dumps(tokenizer_config(256)))
    save_model(model, directory, source_dir=directory)
    return model.float()


def respell(directory, **changes):
    path = directory / "tokenizer.json"
    spec = json.loads(path.read_text())
    model = changes.pop("model", {})
    path.write_text(json.dumps(spec | changes | {"model": spec["model"] | model}))


def some_ids():
    return torch.randint(3, 560, (1, 60), generator=seeds.torch_generator(4, "tests/gguf"))


def tensors(path):
    return {t.name: t for t in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize("case", CASES)
def test_transformers_reads_the_file_with_equal_logits(case, tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    ours = make(tmp_path / "model", CASES[case])
    assert export_gguf(tmp_path / "model", tmp_path / "out" / "m.gguf", None) == "float32"
    if CASES[case].get("qkv_bias") and CASES[case]["architecture"] == LLAMA:
        pytest.skip("transformers drops a Llama's biases when it reads GGUF; llama.cpp has them, see below")
    # What it does not read out of a GGUF file (widths of heads and experts, scaled rotation) comes from config.json;
    # llama.cpp, below, has nothing but the file.
    config = transformers.AutoConfig.from_pretrained(tmp_path / "model")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", gguf_file="m.gguf", dtype=torch.float32, config=config
    )
    with torch.no_grad():
        expected = ours(some_ids())
        assert (expected - theirs.eval()(some_ids()).logits).abs().max() < 1e-4


def test_types_are_those_asked_for_and_keep_what_they_can(tmp_path):
    make(tmp_path / "model")
    files = {}
    for dtype in ("float32", "bfloat16", "float16", "q8_0"):
        export_gguf(tmp_path / "model", tmp_path / f"{dtype}.gguf", dtype)
        files[dtype] = tensors(tmp_path / f"{dtype}.gguf")
    exact = files["float32"]["blk.1.ffn_up.weight"].data
    bounds = {"bfloat16": 2**-8, "float16": 2**-11, "q8_0": 1 / 127}
    for dtype, bound in bounds.items():
        tensor = files[dtype]["blk.1.ffn_up.weight"]
        found = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert 0 < np.abs(found - exact).max() <= bound * np.abs(exact).max()
        assert files[dtype]["blk.1.attn_norm.weight"].tensor_type == gguf.GGMLQuantizationType.F32
    assert files["q8_0"]["token_embd.weight"].tensor_type == gguf.GGMLQuantizationType.Q8_0


def test_a_matrix_without_whole_blocks_is_float16_in_q8_0(tmp_path):
    make(tmp_path / "model", {"intermediate_size": 80})
    export_gguf(tmp_path / "model", tmp_path / "m.gguf", "q8_0")
    found = tensors(tmp_path / "m.gguf")
    assert found["blk.0.ffn_down.weight"].tensor_type == gguf.GGMLQuantizationType.F16
    assert found["blk.0.ffn_up.weight"].tensor_type == gguf.GGMLQuantizationType.Q8_0


def test_the_stored_type_is_kept_and_facts_are_written(tmp_path):
    make(tmp_path / "model", dtype=torch.bfloat16)
    assert export_gguf(tmp_path / "model", tmp_path / "m.gguf", None, {"weights": "abc"}) == "bfloat16"
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    assert reader.fields["clet.weights"].contents() == "abc"
    assert reader.fields["tokenizer.chat_template"].contents() == CHAT_TEMPLATE
    assert reader.fields["tokenizer.ggml.eos_token_id"].contents() == 0
    assert reader.fields["tokenizer.ggml.eot_token_id"].contents() == 2
    assert reader.fields["tokenizer.ggml.add_bos_token"].contents() is False


def test_every_id_has_a_name_and_a_kind_of_its_own(tmp_path):
    model = make(tmp_path / "model")
    added = json.loads((tmp_path / "model" / "tokenizer.json").read_text())["added_tokens"]
    respell(tmp_path / "model", added_tokens=[*added, {"id": 590, "content": "<tool>", "special": False}])
    made = read_tokenizer(tmp_path / "model", model.config)
    assert len(made.tokens) == len(set(made.tokens)) == len(made.kinds) == 600
    assert (made.kinds[0], made.kinds[3], made.kinds[590], made.kinds[599]) == (CONTROL, NORMAL, USER_DEFINED, UNUSED)
    assert made.tokens[590] == "<tool>" and made.pre == "qwen2" and not made.add_bos


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pre_tokenizer": {"type": "Whitespace"}}, "pre-tokenizer"),
        ({"pre_tokenizer": None}, "no pre-tokenizer"),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}}, "pre-tokenizer"),
        ({"normalizer": {"type": "Lowercase"}}, "normalizer 'Lowercase'"),
        ({"model": {"byte_fallback": True}}, "not byte-level BPE"),
        ({"model": {"type": "Unigram"}}, "Unigram"),
        ({"model": {"ignore_merges": True}}, "pre-tokenizer cuts text"),
        ({"model": {"end_of_word_suffix": "</w>"}}, "end_of_word_suffix"),
        ({"post_processor": {"type": "BertProcessing"}}, "post-processor"),
        ({"added_tokens": [{"id": 0, "content": "<|endoftext|>", "special": True, "lstrip": True}]}, "spaces around"),
        ({"added_tokens": [{"id": 600, "content": "<x>", "special": True}]}, "ids up to 600, the model has 600"),
        ({"added_tokens": 5}, "not a tokenizer.json"),
    ],
)
def test_a_tokenizer_that_llama_cpp_does_not_know_is_refused(tmp_path, changes, words):
    make(tmp_path / "model")
    respell(tmp_path / "model", **changes)
    with pytest.raises(InputError, match=words):
        export_gguf(tmp_path / "model", tmp_path / "m.gguf", None)
    assert not (tmp_path / "m.gguf").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_scaling": Llama3Rope(8.0, 1.0, 4.0, 16)},
        {"attention_output_bias": True},
        {"architecture": QWEN2, "qk_norm": False, "head_dim": 32},
        CASES["experts"] | {"norm_topk_prob": False},
        CASES["experts"] | {"mlp_only_layers": (1,)},
    ],
)
def test_what_llama_cpp_computes_otherwise_is_refused(tmp_path, changes):
    shape = {"vocab_size": 600, "hidden_size": 64, "intermediate_size": 96, "num_layers": 2, "num_heads": 4}
    with pytest.raises(InputError, match="does not compute that"):
        check_architecture(ModelConfig(**(shape | {"num_kv_heads": 2, "head_dim": 16} | changes)))


def test_weights_that_a_type_cannot_hold_are_refused(tmp_path):
    model = make(tmp_path / "model")
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = 1e6
    save_model(model, tmp_path / "model", source_dir=tmp_path / "model")
    with pytest.raises(InputError, match="beyond what float16 holds"):
        export_gguf(tmp_path / "model", tmp_path / "m.gguf", "float16")
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]


def test_a_disk_that_refuses_is_a_write_error(tmp_path):
    make(tmp_path / "model")
    with pytest.raises(WriteError):
        export_gguf(tmp_path / "model", tmp_path / "model" / "config.json" / "m.gguf", None)


# ---- llama.cpp itself


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("float16", 5e-3), ("bfloat16", 0.05), ("q8_0", 0.1)])
def test_llama_cpp_answers_alike(case, dtype, bound, tmp_path):
    llama_cpp = pytest.importorskip("llama_cpp")
    ours = make(tmp_path / "model", CASES[case])
    export_gguf(tmp_path / "model", tmp_path / "m.gguf", dtype)
    ids = some_ids()
    with torch.no_grad():
        expected = ours(ids)[0].numpy()
    options = {"n_ctx": 64, "n_batch": 64, "n_threads": 1, "logits_all": True, "verbose": False}
    llama = llama_cpp.Llama(str(tmp_path / "m.gguf"), type_k=0, type_v=0, **options)  # keys and values in float32
    llama.eval(ids[0].tolist())
    found = np.array(llama.scores[: ids.shape[1]])
    llama.close()
    assert np.abs(found - expected).mean() < bound * np.abs(expected).mean()


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_llama_cpp_tokenises_alike(name, tmp_path):
    llama_cpp = pytest.importorskip("llama_cpp")
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    ignore_merges, cuts, use_regex = PRE_TOKENIZERS[name]
    model = make(tmp_path / "model")
    engine = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    parts = [
        pre_tokenizers.Digits(individual_digits=True)
        if kind == "Digits"
        else pre_tokenizers.Split(Regex(pattern), behavior="isolated")
        for kind, pattern in cuts
    ]
    parts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex))
    engine.pre_tokenizer = pre_tokenizers.Sequence(parts)
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=590, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    engine.train_from_iterator(TEXTS * 3, trainer)
    (tmp_path / "model" / "tokenizer.json").write_text(engine.to_str())
    assert read_tokenizer(tmp_path / "model", model.config).pre == name
    export_gguf(tmp_path / "model", tmp_path / "m.gguf", None)
    llama = llama_cpp.Llama(str(tmp_path / "m.gguf"), vocab_only=True, verbose=False)
    engine.encode_special_tokens = True
    for text in TEXTS:
        found = llama.tokenize(text.encode(), add_bos=True, special=False)
        assert found == engine.encode(text).ids, text
    llama.close()
