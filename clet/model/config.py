"""What a decoder looks like: one validated description, read from and written to Hugging Face's `config.json`.

Four families are understood exactly, because they are one architecture with switches: Llama (arXiv:2302.13971, with
the rotary scaling of Llama 3.1), Qwen2 (arXiv:2407.10671, biases on q, k and v), Qwen3 and Qwen3-MoE
(arXiv:2505.09388, RMSNorm on queries and keys, sparse experts). Anything that would change the numbers and is not
implemented (sliding windows, other rotary scalings, quantised weights, another activation) is refused by name.

A `config.json` comes from outside: every number is bounded here, before anything is allocated by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from clet.exits import InputError

QWEN3 = "Qwen3ForCausalLM"
QWEN3_MOE = "Qwen3MoeForCausalLM"
QWEN2 = "Qwen2ForCausalLM"
LLAMA = "LlamaForCausalLM"

MODEL_TYPES = {QWEN3: "qwen3", QWEN3_MOE: "qwen3_moe", QWEN2: "qwen2", LLAMA: "llama"}
ARCHITECTURES = {model_type: name for name, model_type in MODEL_TYPES.items()}

# Upper bounds are a few times the largest published decoder of these families, so that a hostile or broken file is
# named instead of asking the machine for terabytes.
BOUNDS: dict[str, tuple[float, float]] = {
    "vocab_size": (1, 1 << 20),
    "hidden_size": (1, 1 << 16),
    "intermediate_size": (1, 1 << 18),
    "num_layers": (1, 1024),
    "num_heads": (1, 1024),
    "num_kv_heads": (1, 1024),
    "head_dim": (2, 1024),
    "max_positions": (1, 1 << 24),
    "rope_theta": (1.0, 1e12),
    "rms_norm_eps": (1e-12, 0.1),
    "num_experts": (0, 1024),
    "num_experts_per_token": (0, 1024),
    "moe_intermediate_size": (0, 1 << 18),
    "decoder_sparse_step": (1, 1024),
    "router_aux_loss_coef": (0.0, 1e3),
}
MAX_EXPERT_BLOCKS = 1 << 16  # layers x experts; Qwen3-235B-A22B has 94 x 128 = 12032
MAX_EOS_IDS = 64


@dataclass(frozen=True)
class Llama3Rope:
    """Llama 3.1's rotary scaling: long wavelengths slowed by `factor`, short ones kept, a ramp between them."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_positions: int


@dataclass(frozen=True)
class ModelConfig:
    """The shape of one decoder. Raises `InputError` when a number is out of bounds or two of them disagree.

    `rope_scaling` is None or `Llama3Rope`. `num_experts` is 0 for a dense model. `eos_token_ids` are all ids that end
    an answer, `()` when the file names none.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    architecture: str = QWEN3
    rope_theta: float = 10_000.0
    rope_scaling: Llama3Rope | None = None
    rms_norm_eps: float = 1e-6
    tie_embeddings: bool = True
    qk_norm: bool = True
    qkv_bias: bool = False
    attention_output_bias: bool = False
    mlp_bias: bool = False
    max_positions: int = 2048
    num_experts: int = 0
    num_experts_per_token: int = 0
    moe_intermediate_size: int = 0
    norm_topk_prob: bool = True
    decoder_sparse_step: int = 1
    mlp_only_layers: tuple[int, ...] = ()
    router_aux_loss_coef: float = 0.001
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in BOUNDS:
                _check_number(field.name, value, whole=field.type == "int")
            elif field.type == "bool" and not isinstance(value, bool):
                raise InputError(f"config: {field.name} is {value!r}, not true or false")
        if self.architecture not in MODEL_TYPES:
            raise InputError(f"config: {self.architecture} is not supported (supported: {', '.join(MODEL_TYPES)})")
        if self.num_heads % self.num_kv_heads:
            raise InputError(f"config: {self.num_heads} heads cannot share {self.num_kv_heads} key/value heads evenly")
        if self.head_dim % 2:
            raise InputError(f"config: head_dim {self.head_dim} is odd; rotary embedding needs pairs")
        self._check_experts()
        ids = self.eos_token_ids if self.bos_token_id is None else (*self.eos_token_ids, self.bos_token_id)
        if any(type(token) is not int or not 0 <= token < self.vocab_size for token in ids):
            raise InputError(f"config: special token ids {list(ids)} are not all in a vocabulary of {self.vocab_size}")

    def _check_experts(self) -> None:
        if (self.num_experts > 0) != (self.architecture == QWEN3_MOE):
            raise InputError(f"config: {self.architecture} cannot have {self.num_experts} experts")
        if not self.num_experts:
            return
        if not 1 <= self.num_experts_per_token <= self.num_experts:
            raise InputError(f"config: {self.num_experts_per_token} experts a token of {self.num_experts}")
        if self.moe_intermediate_size < 1:
            raise InputError("config: moe_intermediate_size is 0 in a model with experts")
        if self.num_layers * self.num_experts > MAX_EXPERT_BLOCKS:
            raise InputError(f"config: {self.num_layers} layers of {self.num_experts} experts are too many")
        if any(type(layer) is not int or not 0 <= layer < self.num_layers for layer in self.mlp_only_layers):
            raise InputError(f"config: mlp_only_layers {list(self.mlp_only_layers)[:8]} are not layers of this model")

    def is_sparse(self, layer: int) -> bool:
        """True when `layer` has experts instead of one dense block."""
        return (
            self.num_experts > 0 and layer not in self.mlp_only_layers and (layer + 1) % self.decoder_sparse_step == 0
        )

    def num_parameters(self, *, active: bool = False) -> int:
        """Number of parameters, or with `active` of those that one token passes through."""
        queries, keys = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        attention = self.hidden_size * (2 * queries + 2 * keys) + self.qkv_bias * (queries + 2 * keys)
        attention += self.attention_output_bias * self.hidden_size + self.qk_norm * 2 * self.head_dim
        dense = 3 * self.hidden_size * self.intermediate_size
        dense += self.mlp_bias * (2 * self.intermediate_size + self.hidden_size)
        experts = self.num_experts_per_token if active else self.num_experts
        sparse = self.hidden_size * (self.num_experts + experts * 3 * self.moe_intermediate_size)
        total = self.vocab_size * self.hidden_size * (1 if self.tie_embeddings else 2) + self.hidden_size
        for layer in range(self.num_layers):
            total += attention + 2 * self.hidden_size + (sparse if self.is_sparse(layer) else dense)
        return total

    @classmethod
    def from_hf(cls, document: Mapping[str, object]) -> ModelConfig:
        """Read the object of a `config.json`; `InputError` names what is missing, out of bounds or not supported."""
        architecture = _architecture(document)
        _refuse_unsupported(document, architecture)
        hidden, heads = _get(document, "hidden_size"), _get(document, "num_attention_heads")
        _check_number("hidden_size", hidden, whole=True)
        _check_number("num_heads", heads, whole=True)
        head_dim = document.get("head_dim") or (128 if architecture == QWEN3 else hidden // heads)
        positions = _get(document, "max_position_embeddings")
        theta, scaling = _rotary(document, positions)
        attention_bias = _flag(document, "attention_bias", False)
        sparse = architecture == QWEN3_MOE
        bos = document.get("bos_token_id")
        return cls(
            architecture=architecture,
            vocab_size=_get(document, "vocab_size"),
            hidden_size=hidden,
            intermediate_size=_get(document, "intermediate_size"),
            num_layers=_get(document, "num_hidden_layers"),
            num_heads=heads,
            num_kv_heads=document.get("num_key_value_heads") or heads,
            head_dim=head_dim,
            rope_theta=theta,
            rope_scaling=scaling,
            rms_norm_eps=document.get("rms_norm_eps", 1e-6),
            tie_embeddings=_flag(document, "tie_word_embeddings", False),
            qk_norm=architecture in (QWEN3, QWEN3_MOE),
            qkv_bias=architecture == QWEN2 or attention_bias,
            attention_output_bias=architecture != QWEN2 and attention_bias,
            mlp_bias=architecture == LLAMA and _flag(document, "mlp_bias", False),
            max_positions=positions,
            num_experts=_first(document, "num_experts", "num_local_experts") if sparse else 0,
            num_experts_per_token=_get(document, "num_experts_per_tok") if sparse else 0,
            moe_intermediate_size=_get(document, "moe_intermediate_size") if sparse else 0,
            norm_topk_prob=_flag(document, "norm_topk_prob", False) if sparse else True,
            decoder_sparse_step=document.get("decoder_sparse_step", 1) if sparse else 1,
            mlp_only_layers=_int_list(document, "mlp_only_layers", 1024) if sparse else (),
            router_aux_loss_coef=document.get("router_aux_loss_coef", 0.001) if sparse else 0.001,
            bos_token_id=bos if architecture != LLAMA or "bos_token_id" in document else 1,
            eos_token_ids=_int_list(document, "eos_token_id", MAX_EOS_IDS),
        )

    def to_hf(self, dtype: str = "float32") -> dict[str, object]:
        """The object for a `config.json` that transformers (4 and 5), vLLM and llama.cpp's converter load.

        `dtype` is the type that the weights have on disk: "float32", "bfloat16" or "float16".
        """
        eos: object = list(self.eos_token_ids) or None
        document: dict[str, object] = {
            "architectures": [self.architecture],
            "model_type": MODEL_TYPES[self.architecture],
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_positions,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": _scaling_to_hf(self.rope_scaling),
            "tie_word_embeddings": self.tie_embeddings,
            "attention_dropout": 0.0,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_ids[0] if len(self.eos_token_ids) == 1 else eos,
            "initializer_range": 0.02,
            "torch_dtype": dtype,
            "use_cache": True,
        }
        if self.architecture != QWEN2:
            document["attention_bias"] = self.attention_output_bias
        if self.architecture == LLAMA:
            document["mlp_bias"] = self.mlp_bias
        else:
            document["use_sliding_window"] = False
            document["sliding_window"] = None
        if self.num_experts:
            document |= {
                "num_experts": self.num_experts,
                "num_experts_per_tok": self.num_experts_per_token,
                "moe_intermediate_size": self.moe_intermediate_size,
                "norm_topk_prob": self.norm_topk_prob,
                "decoder_sparse_step": self.decoder_sparse_step,
                "mlp_only_layers": list(self.mlp_only_layers),
                "router_aux_loss_coef": self.router_aux_loss_coef,
                "output_router_logits": False,
            }
        return document


def _check_number(name: str, value: object, *, whole: bool) -> None:
    low, high = BOUNDS[name]
    kinds = (int,) if whole else (int, float)
    if type(value) not in kinds or not math.isfinite(value) or not low <= value <= high:
        raise InputError(f"config: {name} is {value!r:.40}, not a number from {low:g} to {high:g}")


def _get(document: Mapping[str, object], name: str) -> object:
    if document.get(name) is None:
        raise InputError(f"config: {name} is missing; is this a decoder's config.json?")
    return document[name]


def _first(document: Mapping[str, object], *names: str) -> object:
    """The value under the first of several spellings."""
    return next((document[name] for name in names if document.get(name) is not None), None) or _get(document, names[0])


def _flag(document: Mapping[str, object], name: str, default: bool) -> bool:
    value = document.get(name)
    if value is not None and not isinstance(value, bool):
        raise InputError(f"config: {name} is {value!r:.40}, not true or false")
    return default if value is None else value


def _int_list(document: Mapping[str, object], name: str, limit: int) -> tuple[int, ...]:
    value = document.get(name)
    items = [] if value is None else value if isinstance(value, list) else [value]
    if len(items) > limit:
        raise InputError(f"config: {name} has {len(items)} entries, more than {limit}")
    return tuple(items)


def _architecture(document: Mapping[str, object]) -> str:
    named = document.get("architectures")
    if isinstance(named, list) and len(named) == 1 and isinstance(named[0], str):
        name = named[0]
    elif named is None:
        name = ARCHITECTURES.get(str(document.get("model_type")), f"model_type {document.get('model_type')!r:.40}")
    else:
        name = f"{named!r:.60}"
    if name not in MODEL_TYPES:
        raise InputError(f"config: architecture {name:.60} is not supported (supported: {', '.join(MODEL_TYPES)})")
    return name


def _refuse_unsupported(document: Mapping[str, object], architecture: str) -> None:
    for name in ("quantization_config", "compression_config"):
        if document.get(name) is not None:
            raise InputError(f"config: {name} is set; quantised weights are not supported: take the original weights")
    if document.get("hidden_act", "silu") != "silu":
        raise InputError(f"config: activation {document['hidden_act']!r:.40} is not supported, only silu")
    layer_types = document.get("layer_types") or []
    if not isinstance(layer_types, list):
        raise InputError(f"config: layer_types is {layer_types!r:.40}, not a list")
    if document.get("use_sliding_window") or any(kind != "full_attention" for kind in layer_types):
        raise InputError(f"config: sliding window attention of this {architecture} is not supported")
    if document.get("partial_rotary_factor", 1.0) != 1.0:
        raise InputError("config: partial_rotary_factor is not supported")


def _rotary(document: Mapping[str, object], positions: object) -> tuple[object, Llama3Rope | None]:
    """(theta, scaling) from `rope_parameters` (transformers 5) or from `rope_theta` and `rope_scaling` (before)."""
    parameters = document.get("rope_parameters") or document.get("rope_scaling") or {}
    if not isinstance(parameters, Mapping):
        raise InputError("config: rope_parameters is not an object")
    theta = parameters.get("rope_theta", document.get("rope_theta", 10_000.0))
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if parameters.get("partial_rotary_factor", 1.0) != 1.0:
        raise InputError("config: partial_rotary_factor is not supported")
    if kind == "default":
        return theta, None
    if kind != "llama3":
        raise InputError(f"config: rotary scaling {kind!r:.40} is not supported (supported: default, llama3)")
    names = ("factor", "low_freq_factor", "high_freq_factor")
    numbers = [parameters.get(name) for name in names]
    original = parameters.get("original_max_position_embeddings", positions)
    for name, value in zip(names, numbers, strict=True):
        if type(value) not in (int, float) or not 1e-3 <= value <= 1e6:
            raise InputError(f"config: llama3 rotary scaling has {name} {value!r:.40}, not a number from 0.001 to 1e6")
    _check_number("max_positions", original, whole=True)
    if numbers[1] >= numbers[2]:
        raise InputError("config: llama3 rotary scaling needs low_freq_factor below high_freq_factor")
    return theta, Llama3Rope(*map(float, numbers), original_max_positions=original)


def _scaling_to_hf(scaling: Llama3Rope | None) -> dict[str, object] | None:
    if scaling is None:
        return None
    return {
        "rope_type": "llama3",
        "factor": scaling.factor,
        "low_freq_factor": scaling.low_freq_factor,
        "high_freq_factor": scaling.high_freq_factor,
        "original_max_position_embeddings": scaling.original_max_positions,
    }
