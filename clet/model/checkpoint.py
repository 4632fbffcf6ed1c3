"""Model directories in Hugging Face layout: read with suspicion, written whole.

A directory holds `config.json`, the weights as safetensors (one file, or shards and an index), `tokenizer.json` and
small JSON files beside them. Reading checks the configuration, then names, shapes and types of all tensors from the
headers, and only then allocates. Pickled weights are refused: unpickling runs code of whoever wrote the file.
Writing goes file by file through a temporary name, fsync and rename; the bytes depend on the weights alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from clet.exits import InputError, WriteError
from clet.model.config import ModelConfig
from clet.model.decoder import Decoder
from clet.state import fsync_directory, write_atomically

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER_CONFIG = "adapter_config.json"  # peft's
GENERATION = "generation_config.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5")
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
DTYPE_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}
TIED_HEAD = "lm_head.weight"
EMBEDDING = "model.embed_tokens.weight"
MAX_CONFIG_BYTES = 4 << 20
MAX_INDEX_BYTES = 64 << 20
MAX_SHARDS = 4096


def read_json(path: Path, max_bytes: int) -> dict[str, object]:
    """The JSON object in `path`; `InputError` when it is missing, larger than `max_bytes`, or not an object."""
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise InputError(f"{path}: larger than {max_bytes} bytes")
        document = json.loads(data)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; is this a model directory?") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: not JSON") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: not a JSON object")
    return document


def read_config(directory: str | Path) -> ModelConfig:
    """The validated `config.json` of a model directory; `InputError` says what is wrong with it."""
    path = Path(directory) / "config.json"
    if not path.exists() and path.with_name(ADAPTER_CONFIG).is_file():
        raise InputError(
            f"{directory}: an adapter without the model it belongs to; merge the two where peft is installed "
            "(merge_and_unload, save_pretrained)"
        )
    try:
        return ModelConfig.from_hf(read_json(path, MAX_CONFIG_BYTES))
    except InputError as error:
        raise error if str(error).startswith(str(path)) else InputError(f"{path}: {error}") from None


def weight_files(directory: str | Path) -> list[Path]:
    """The safetensors files of a model directory, sorted; `InputError` when there are only pickles, or none."""
    directory = Path(directory)
    if (directory / WEIGHTS).is_file():
        return [directory / WEIGHTS]
    if (directory / INDEX).is_file():
        weight_map = read_json(directory / INDEX, MAX_INDEX_BYTES).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise InputError(f"{directory / INDEX}: no weight_map")
        names = {str(name) for name in weight_map.values()}
        for name in names:
            if Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
                raise InputError(f"{directory / INDEX}: {name!r:.80} is not a safetensors file of this directory")
        if len(names) > MAX_SHARDS:
            raise InputError(f"{directory / INDEX}: {len(names)} files, more than {MAX_SHARDS}")
        return [directory / name for name in sorted(names)]
    pickles = sorted(path.name for path in directory.glob("*") if path.suffix in PICKLES)
    if pickles:
        raise InputError(
            f"{directory / pickles[0]}: pickled weights can run code and are refused: load them where you trust "
            "them and write safetensors with transformers' save_pretrained"
        )
    raise InputError(f"{directory}: no {WEIGHTS} and no {INDEX}")


def check_weights(directory: str | Path, config: ModelConfig) -> dict[str, Path]:
    """The file of each tensor, after names, shapes and types of all of them were found to fit `config`.

    Reads headers only. A tied model may carry its head a second time; that copy is not in the result.
    """
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in Decoder(config).state_dict().items()}
    found: dict[str, Path] = {}
    for path in weight_files(directory):
        with _opened(path) as tensors:
            for name in sorted(tensors.keys()):
                if name == TIED_HEAD and config.tie_embeddings:
                    _check_tensor(path, tensors, name, expected[EMBEDDING])
                    continue
                if name not in expected:
                    raise InputError(f"{path}: unexpected tensor {name!r:.100} for {config.architecture}")
                if name in found:
                    raise InputError(f"{path}: tensor {name} is also in {found[name].name}")
                _check_tensor(path, tensors, name, expected[name])
                found[name] = path
    missing = [name for name in expected if name not in found]
    if missing:
        raise InputError(f"{directory}: {len(missing)} tensors are missing, the first is {missing[0]}")
    return found


def check_tied_head(directory: str | Path, config: ModelConfig) -> None:
    """`InputError` when a tied model also stores a head, and that is not its embedding. Reads at most these two."""
    stored: dict[str, torch.Tensor] = {}
    for path in weight_files(directory) if config.tie_embeddings else ():
        with _opened(path) as tensors:
            present = {TIED_HEAD, EMBEDDING}.intersection(tensors.keys())
            stored |= {name: tensors.get_tensor(name) for name in present}
    if TIED_HEAD in stored and not torch.equal(stored[TIED_HEAD].float(), stored[EMBEDDING].float()):
        raise InputError(f"{directory}: {TIED_HEAD} differs from the embedding; set tie_word_embeddings to false")


def load_model(
    directory: str | Path, dtype: torch.dtype | None = torch.float32, device: torch.device | str = "cpu"
) -> Decoder:
    """The model of a directory, converted to `dtype`, in evaluation mode; `InputError` names what does not fit.

    With `dtype` None every tensor keeps the type in which it is stored.
    """
    config = read_config(directory)
    files = check_weights(directory, config)
    check_tied_head(directory, config)
    state: dict[str, torch.Tensor] = {}
    for path in sorted(set(files.values())):
        with _opened(path) as tensors:
            for name in (name for name, holder in files.items() if holder == path):
                # A copy: a mapped file may be replaced or truncated under a running server.
                state[name] = tensors.get_tensor(name).to(device=device, dtype=dtype, copy=True)
    with torch.device("meta"):
        model = Decoder(config)
    model.load_state_dict(state, assign=True)
    return model.eval()


def save_model(model: Decoder, directory: str | Path, *, source_dir: str | Path | None = None) -> None:
    """Write `model` as a Hugging Face directory that transformers loads, in the type its weights have.

    Tokenizer, chat template and generation settings are copied from `source_dir`, byte for byte. `WriteError` when the
    disk refuses.
    """
    directory = Path(directory)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    dtype = DTYPE_NAMES[model.head_weight.dtype]
    with write_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        with replacing(directory / WEIGHTS) as temporary:
            save_file(state, temporary, metadata={"format": "pt"})
        write_json(directory / GENERATION, generation_config(model.config))
        for name in (*TOKENIZER_FILES, GENERATION) if source_dir is not None else ():
            if (Path(source_dir) / name).is_file():
                with replacing(directory / name) as temporary:
                    shutil.copyfile(Path(source_dir) / name, temporary)
        write_json(directory / "config.json", model.config.to_hf(dtype))


def generation_config(config: ModelConfig) -> dict[str, object]:
    """The object of `generation_config.json`: where an answer begins and ends."""
    return {"bos_token_id": config.bos_token_id, "eos_token_id": list(config.eos_token_ids) or None}


def write_json(path: Path, document: dict[str, object]) -> None:
    """Write `document` to `path`, whole or not at all."""
    with write_errors(path):
        write_atomically(path, json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n")


def state_root(model: Decoder) -> str:
    """SHA-256 (hex) over name, type, shape and bytes of every tensor in order of names: the identity of weights.

    Equal weights in another type have another root. Reads each weight once; no copy beyond one tensor.
    """
    return tensors_root(model.state_dict())


def tensors_root(state: Mapping[str, torch.Tensor], dtype: torch.dtype | None = None) -> str:
    """The same of any tensors by name; with `dtype` as it would be had they been converted to that."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        tensor = tensor if dtype is None else tensor.to(dtype)
        header = json.dumps([name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)])
        digest.update(header.encode() + b"\n")
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _opened(path: Path):
    try:
        return safe_open(path, framework="pt")
    except OSError as error:
        raise InputError(f"{path}: {error}") from None
    except SafetensorError as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from None


def _check_tensor(path: Path, tensors, name: str, shape: tuple[int, ...]) -> None:
    header = tensors.get_slice(name)
    if tuple(header.get_shape()) != shape:
        raise InputError(f"{path}: {name} has shape {header.get_shape()}, config.json says {list(shape)}")
    if header.get_dtype() not in DTYPES:
        raise InputError(f"{path}: {name} has type {header.get_dtype()}; supported are {', '.join(DTYPES)}")


@contextlib.contextmanager
def replacing(path: Path):
    """A temporary path beside `path`, made durable and renamed to it at the end, with the mode that the umask gives.

    safetensors makes files for their owner alone; a server under another user has to read them.
    """
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
        yield temporary
        temporary.chmod(mode)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        fsync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def write_errors(path: Path):
    """What the disk or safetensors refuses, as a `WriteError` about `path`."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"{path}: {error.strerror or error}; free space or choose another place") from None
    except SafetensorError as error:
        raise WriteError(f"{path}: {error}") from None
