"""A model directory as one GGUF file, which llama.cpp and what builds on it load (ggml's specification, version 3).

Names, shapes and numbers are llama.cpp's for the architectures llama, qwen2, qwen3 and qwen3moe. Llama's queries and
keys are permuted, because it rotates neighbouring pairs where Hugging Face rotates halves; the experts of a layer are
one tensor; Llama 3.1's rotary scaling is a tensor of factors. Norms, biases and routers stay float32. `q8_0` has blocks
of 32 numbers with one scale each, 8.5 bits a number; a matrix whose rows are no multiple of 32 becomes float16.

What these architectures cannot express there (biases that llama.cpp does not add, dense layers between sparse ones, a
tokenizer that it does not know) is refused before anything is written. Memory: one tensor, or the experts of one
layer, and the header; the file appears whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import safe_open

from clet.exits import InputError, UsageError, WriteError
from clet.model.checkpoint import check_tied_head, check_weights, read_config, replacing
from clet.model.config import LLAMA, QWEN2, QWEN3, QWEN3_MOE, ModelConfig
from clet.model.gguf_tokenizer import GgufTokenizer, read_tokenizer
from clet.model.rotary import inverse_frequencies

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFWriter

ARCHITECTURES = {LLAMA: "llama", QWEN2: "qwen2", QWEN3: "qwen3", QWEN3_MOE: "qwen3moe"}
DTYPES = ("float32", "bfloat16", "float16", "q8_0")
MAX_LAYERS, MAX_EXPERTS = 512, 512  # compiled into llama.cpp
BLOCK = 32  # numbers of q8_0 that share a scale

_LAYER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
}
_EXPERTS = {"gate_proj": "ffn_gate_exps", "up_proj": "ffn_up_exps", "down_proj": "ffn_down_exps"}
_TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of the file: its name and shape there, and how to read it in float32."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[], torch.Tensor]


def export_gguf(directory: Path, path: Path, dtype: str | None, facts: Mapping[str, str] = {}) -> str:
    """Write a model directory to `path` in `dtype` (None: as stored) with `facts` among its metadata; the type taken.

    Raises UsageError where the package `gguf` is not installed, InputError for what llama.cpp could not run as it is,
    WriteError where the disk refuses.
    """
    try:
        import gguf
    except ImportError:
        raise UsageError("--gguf needs gguf; pip install 'clet[gguf]'") from None
    config = read_config(directory)
    check_architecture(config)
    files = check_weights(directory, config)
    check_tied_head(directory, config)
    tokenizer = read_tokenizer(directory, config)
    dtype = dtype or _stored_dtype(files)
    writer = gguf.GGUFWriter(None, ARCHITECTURES[config.architecture])
    _describe(writer, directory, config, dtype, facts)
    _describe_tokenizer(writer, tokenizer)
    entries = list(_entries(config, files))
    kinds = [_kind(entry, dtype) for entry in entries]
    for entry, kind in zip(entries, kinds, strict=True):
        size = np.prod(_byte_shape(entry.shape, kind), dtype=np.int64)
        writer.add_tensor_info(entry.name, entry.shape, np.dtype(np.float32), int(size), raw_dtype=kind)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            try:
                writer.write_header_to_file(temporary)
                writer.write_kv_data_to_file()
                writer.write_ti_data_to_file()
                for entry, kind in zip(entries, kinds, strict=True):
                    writer.write_tensor_data(_encoded(entry, kind))
            finally:
                writer.close()
    except OSError as error:
        raise WriteError(f"{path}: {error.strerror or error}; free space or choose another place") from None
    return dtype


def check_architecture(config: ModelConfig) -> None:
    """InputError for a model that llama.cpp would not compute as we do."""
    wrong = None
    qwen3 = config.architecture in (QWEN3, QWEN3_MOE)
    if config.rope_scaling is not None and config.architecture != LLAMA:
        wrong = "Llama 3.1's rotary scaling outside a Llama"
    elif qwen3 and config.attention_output_bias:
        wrong = "a bias on the attention's output"
    elif config.architecture == QWEN2 and config.num_heads * config.head_dim != config.hidden_size:
        wrong = f"{config.num_heads} heads of {config.head_dim} in a width of {config.hidden_size}"
    elif config.num_experts and not all(map(config.is_sparse, range(config.num_layers))):
        wrong = "dense layers between sparse ones"
    elif config.num_experts and not config.norm_topk_prob:
        wrong = "expert weights that are not rescaled to sum to one (norm_topk_prob false)"
    elif config.num_layers > MAX_LAYERS or config.num_experts > MAX_EXPERTS:
        wrong = f"{config.num_layers} layers of {config.num_experts} experts"
    if wrong:
        raise InputError(f"{config.architecture} with {wrong}: llama.cpp does not compute that; no file was written")


def _stored_dtype(files: Mapping[str, Path]) -> str:
    with safe_open(files["model.embed_tokens.weight"], framework="pt") as tensors:
        stored = tensors.get_slice("model.embed_tokens.weight").get_dtype()
    return {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}[stored]


# ---- metadata


def _describe(writer: GGUFWriter, directory: Path, config: ModelConfig, dtype: str, facts: Mapping[str, str]) -> None:
    from gguf import GGML_QUANT_VERSION, LlamaFileType

    writer.add_name(facts.get("name", directory.name))
    types = {
        "float32": LlamaFileType.ALL_F32,
        "bfloat16": LlamaFileType.MOSTLY_BF16,
        "float16": LlamaFileType.MOSTLY_F16,
        "q8_0": LlamaFileType.MOSTLY_Q8_0,
    }
    writer.add_file_type(types[dtype])
    writer.add_quantization_version(GGML_QUANT_VERSION)
    for name, value in facts.items():
        writer.add_string(f"clet.{name}", value)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_positions)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(float(config.rope_theta))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if config.num_experts:
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_token)
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)


def _describe_tokenizer(writer: GGUFWriter, tokenizer: GgufTokenizer) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(tokenizer.pre)
    writer.add_token_list(tokenizer.tokens)
    writer.add_token_types(tokenizer.kinds)
    writer.add_token_merges(tokenizer.merges)
    writer.add_add_bos_token(tokenizer.add_bos)
    for name, token in tokenizer.special.items():
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", token)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


# ---- tensors


def _entries(config: ModelConfig, files: Mapping[str, Path]) -> Iterator[Entry]:
    """All tensors in the order of the model."""
    if config.rope_scaling is not None:
        yield Entry("rope_freqs.weight", (config.head_dim // 2,), lambda: _rope_factors(config))
    heads = {"attn_q": config.num_heads, "attn_k": config.num_kv_heads} if config.architecture == LLAMA else {}
    for name in files:
        stem, _, kind = name.rpartition(".")
        if stem in _TOP:
            yield _single(files, name, f"{_TOP[stem]}.{kind}", None)
            continue
        _, _, layer, part = stem.split(".", 3)
        if not part.startswith("mlp.experts."):
            theirs = _LAYER[part]
            yield _single(files, name, f"blk.{layer}.{theirs}.{kind}", heads.get(theirs))
            continue
        _, _, expert, projection = part.split(".")
        if expert == "0":
            yield _stacked(config, files, layer, projection)


def _single(files: Mapping[str, Path], ours: str, theirs: str, num_heads: int | None) -> Entry:
    def read() -> torch.Tensor:
        tensor = _tensor(files, ours)
        return tensor if num_heads is None else _interleaved(tensor, num_heads)

    return Entry(theirs, _shape(files, ours), read)


def _stacked(config: ModelConfig, files: Mapping[str, Path], layer: str, projection: str) -> Entry:
    names = [f"model.layers.{layer}.mlp.experts.{e}.{projection}.weight" for e in range(config.num_experts)]
    shape = (config.num_experts, *_shape(files, names[0]))
    return Entry(
        f"blk.{layer}.{_EXPERTS[projection]}.weight", shape, lambda: torch.stack([_tensor(files, n) for n in names])
    )


def _interleaved(tensor: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Rows of each head from halves (i, i + D/2) to neighbouring pairs (2i, 2i + 1)."""
    return tensor.view(num_heads, 2, -1, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)


def _rope_factors(config: ModelConfig) -> torch.Tensor:
    """What the unscaled frequencies are divided by, pair by pair."""
    from dataclasses import replace

    return inverse_frequencies(replace(config, rope_scaling=None)) / inverse_frequencies(config)


def _shape(files: Mapping[str, Path], name: str) -> tuple[int, ...]:
    with safe_open(files[name], framework="pt") as tensors:
        return tuple(tensors.get_slice(name).get_shape())


def _tensor(files: Mapping[str, Path], name: str) -> torch.Tensor:
    with safe_open(files[name], framework="pt") as tensors:
        return tensors.get_tensor(name).float()


def _kind(entry: Entry, dtype: str) -> GGMLQuantizationType:
    """The type of one tensor in the file."""
    from gguf import GGMLQuantizationType as Kind

    if len(entry.shape) < 2 or ".ffn_gate_inp." in entry.name:
        return Kind.F32
    if dtype == "q8_0":
        return Kind.F16 if entry.shape[-1] % BLOCK else Kind.Q8_0
    return {"float32": Kind.F32, "bfloat16": Kind.BF16, "float16": Kind.F16}[dtype]


def _byte_shape(shape: tuple[int, ...], kind: GGMLQuantizationType) -> tuple[int, ...]:
    from gguf import GGML_QUANT_SIZES

    block, size = GGML_QUANT_SIZES[kind]
    return (*shape[:-1], shape[-1] // block * size)


def _encoded(entry: Entry, kind: GGMLQuantizationType) -> np.ndarray[Any, Any]:
    """The tensor's bytes. Raises InputError for weights that are not finite, or beyond float16."""
    from gguf import GGMLQuantizationType as Kind
    from gguf import quants

    tensor = entry.read()
    if not bool(torch.isfinite(tensor).all()):
        raise InputError(f"{entry.name}: weights that are not finite; no file was written")
    if kind is Kind.F16 and float(tensor.abs().max()) > torch.finfo(torch.float16).max:
        raise InputError(f"{entry.name}: weights beyond what float16 holds; choose --dtype bfloat16 or float32")
    return quants.quantize(np.ascontiguousarray(tensor.numpy()), kind).view(np.uint8)
