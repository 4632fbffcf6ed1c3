"""Making a model directory: random weights in a preset's shape, or weights that exist already.

Random weights are normal with standard deviation 0.02, norms are one, biases zero; the two projections that write into
the residual stream (`o_proj`, `down_proj`) are scaled by 1/sqrt(2 * layers), so that its variance at the start does
not grow with depth (GPT-2, section 2.3). Each parameter draws from a stream of its own name: the same seed gives the
same weights whatever the order, and equal parts of two shapes stay equal.

A directory appears whole or not at all: everything is written to a hidden folder first, which is renamed at the end.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from clet import seeds
from clet.exits import InputError, UsageError, WriteError
from clet.model.checkpoint import (
    INDEX,
    TOKENIZER_FILES,
    check_tied_head,
    check_weights,
    generation_config,
    read_config,
    save_model,
    weight_files,
    write_json,
)
from clet.model.config import ModelConfig
from clet.model.decoder import Decoder
from clet.model.presets import preset_config
from clet.model.vocabulary import EOS_IDS, check_vocab_size, num_tokens, tokenizer_config, train_vocabulary
from clet.state import fsync_directory

STD = 0.02
RESIDUAL_PROJECTIONS = ("o_proj.weight", "down_proj.weight")
STAGING = ".clet-init-"  # folders of killed runs; an otherwise empty directory counts as empty with them
COPY_BYTES = 1 << 20
MAX_TOKENIZER_BYTES = 256 << 20


@dataclass(frozen=True)
class Made:
    """What a new model directory holds: its shape, the ids its tokenizer uses, SHA-256 (hex) of each adopted file."""

    config: ModelConfig
    num_tokens: int
    hashes: dict[str, str]


def initialise(model: Decoder, seed: int) -> None:
    """Fill all parameters of `model` (on the CPU) from `seed`."""
    residual_std = STD / math.sqrt(2 * model.config.num_layers)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.fill_(1.0)
            elif name.endswith(".bias"):
                parameter.zero_()
            else:
                std = residual_std if name.endswith(RESIDUAL_PROJECTIONS) else STD
                parameter.normal_(0.0, std, generator=seeds.torch_generator(seed, f"init/{name}"))


def create(
    directory: str | Path, preset: str, texts: Iterable[str], vocab: int | None, seed: int, moe: bool = False
) -> Made:
    """A new directory: a vocabulary learned from `texts` (in their order) and random weights in float32.

    `vocab` is the number of rows of the embedding, the preset's own if None. Raises UsageError when the directory
    has something in it, InputError for a corpus without text.
    """
    if vocab is not None:
        check_vocab_size(vocab)
    config = preset_config(preset, vocab_size=vocab, moe=moe)
    with appearing(directory) as staging:
        tokenizer_json = train_vocabulary(texts, config.vocab_size)
        config = replace(config, eos_token_ids=EOS_IDS)
        (staging / "tokenizer.json").write_text(tokenizer_json, encoding="utf-8")
        write_json(staging / "tokenizer_config.json", tokenizer_config(config.max_positions))
        with torch.device("meta"):
            model = Decoder(config)
        model.to_empty(device="cpu")
        initialise(model, seed)
        save_model(model, staging)
        return Made(config, num_tokens(tokenizer_json), {})


def adopt(source: str | Path, directory: str | Path) -> Made:
    """Copy a Hugging Face directory that passes every check; weights keep their type and their bytes.

    Raises InputError for another architecture, pickled or damaged weights, or a tokenizer that is missing or has more
    ids than the model; UsageError when the target has something in it.
    """
    source = Path(source)
    config = read_config(source)
    check_weights(source, config)
    check_tied_head(source, config)
    used = check_tokenizer(source, config)
    weights = [path.name for path in weight_files(source)]
    optional = (*TOKENIZER_FILES, "generation_config.json", INDEX if (source / INDEX).is_file() else "")
    names = ["config.json", *weights, *(name for name in optional if name and (source / name).is_file())]
    with appearing(directory) as staging:
        hashes = {name: _copy(source / name, staging / name) for name in names}
        if "generation_config.json" not in hashes:
            write_json(staging / "generation_config.json", generation_config(config))
        write_json(staging / "adopted.json", {"sha256": hashes})
    return Made(config, used, hashes)


def check_tokenizer(source: Path, config: ModelConfig) -> int:
    """The number of ids that the tokenizer of `source` uses, no more than the model has."""
    path = source / "tokenizer.json"
    try:
        if path.stat().st_size > MAX_TOKENIZER_BYTES:
            raise InputError(f"{path}: over {MAX_TOKENIZER_BYTES >> 20} MB, not a tokenizer")
        content = path.read_text(encoding="utf-8")
    except OSError:
        raise InputError(f"{path}: missing; write it with AutoTokenizer.from_pretrained(...).save_pretrained") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8") from None
    used = num_tokens(content)
    if used > config.vocab_size:
        raise InputError(f"{path}: uses {used} ids, the model has {config.vocab_size}; they do not belong together")
    return used


def _copy(source: Path, target: Path) -> str:
    """Copy one file durably; SHA-256 (hex) of its bytes."""
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("xb") as writer:
        while block := reader.read(COPY_BYTES):
            digest.update(block)
            writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


@contextlib.contextmanager
def appearing(directory: str | Path) -> Iterator[Path]:
    """A staging folder whose content becomes `directory`, or vanishes. UsageError unless that is absent or empty.

    An absent directory appears by one rename. An empty one is kept, since it may be a mount or somebody's working
    directory, and gets its files by renames, `config.json` last: before that it is no model directory.
    """
    directory = Path(os.path.abspath(directory))
    fill = directory.is_dir() and all(path.name.startswith(STAGING) for path in directory.iterdir())
    if not fill and os.path.lexists(directory):
        raise UsageError(f"{directory}: exists and is not an empty folder; name a new one, or remove it")
    staging = directory.joinpath(f"{STAGING}{os.getpid()}") if fill else directory.with_name(f"{STAGING}{os.getpid()}")
    try:
        staging.mkdir(parents=True)
        yield staging
        if fill:
            for path in sorted(staging.iterdir(), key=lambda path: path.name == "config.json"):
                path.rename(directory / path.name)
        else:
            staging.rename(directory)
        fsync_directory(directory if fill else directory.parent)
    except OSError as error:
        raise WriteError(f"{directory}: {error.strerror or error}; free space or choose another place") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
