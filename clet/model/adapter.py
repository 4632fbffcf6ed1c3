"""Adapters on disk in PEFT's layout, so that whatever loads adapters beside a base loads ours.

    adapter_model.safetensors    base_model.model.<matrix>.lora_A.weight [r, in], ....lora_B.weight [out, r]
    adapter_config.json          rank, alpha, names of the matrices, and the base's directory or published name

The base is not in it: its place is written down, and its hash (release.json's `base`) says whether it is that one.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from clet.exits import InputError
from clet.model.checkpoint import ADAPTER_CONFIG, read_json, replacing, tensors_root, write_errors, write_json
from clet.model.decoder import Decoder
from clet.model.lora import LoraConfig, adapters

ADAPTER_WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
MAX_CONFIG_BYTES = 1 << 20


def adapter_config(form: LoraConfig, base: str, *, experts: bool) -> dict[str, object]:
    """The object of `adapter_config.json`; `base` is a directory or a published name.

    Of experts, peft doubles rank and alpha where it fuses two matrices, which only a scale of alpha / r outlives: a
    rank-stabilised scale is written as the alpha that gives it.
    """
    plain = experts and form.rank_stabilised
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "revision": None,
        "r": form.rank,
        "lora_alpha": form.scale * form.rank if plain else form.alpha,
        "use_rslora": form.rank_stabilised and not plain,
        "target_modules": list(form.targets),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "modules_to_save": None,
        "inference_mode": True,
    }


def save_adapter(model: Decoder, directory: Path, base: str) -> str:
    """Write the adapters of `model` in float32; their hash, as `adapter_root` finds it again. Raises WriteError."""
    found = dict(adapters(model))
    state = {}
    for name, module in found.items():
        state[f"{PREFIX}{name}.lora_A.weight"] = module.lora_A.detach().cpu().contiguous()
        state[f"{PREFIX}{name}.lora_B.weight"] = module.lora_B.detach().cpu().contiguous()
    form = next(iter(found.values())).form
    _write(directory, state, adapter_config(form, base, experts=model.config.num_experts > 0))
    return tensors_root(state)


def read_adapter(directory: Path) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Tensors and configuration of an adapter. Raises InputError for what is missing or damaged."""
    config = read_json(directory / ADAPTER_CONFIG, MAX_CONFIG_BYTES)
    path = directory / ADAPTER_WEIGHTS
    try:
        return load_file(path), config
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; restore it from a copy") from None
    except SafetensorError as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from None


def adapter_root(directory: Path) -> str:
    """SHA-256 (hex) over the tensors of an adapter, as `state_root` takes it of a model's."""
    return tensors_root(read_adapter(directory)[0])


def export_adapter(source: Path, directory: Path, dtype: torch.dtype, base: str | None) -> None:
    """Copy an adapter, converted to `dtype`, with another name for its base if one is given."""
    state, config = read_adapter(source)
    state = {name: tensor.to(dtype) for name, tensor in state.items()}
    _write(directory, state, config | ({} if base is None else {"base_model_name_or_path": base}))


def _write(directory: Path, state: dict[str, torch.Tensor], config: dict[str, object]) -> None:
    with write_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        with replacing(directory / ADAPTER_WEIGHTS) as temporary:
            save_file(state, temporary, metadata={"format": "pt"})
        write_json(directory / ADAPTER_CONFIG, config)
