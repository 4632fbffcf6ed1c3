"""Beginning an invocation: is this the run it claims to be, does the model fit, which shards are new.

Everything that does not fit is refused here, before anything is changed: another seed, tokenizer, model shape or
window length than the run began with; a shard of another tokenizer or with ids that the model does not have.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import orjson
import torch

from clet.exits import InputError, UsageError
from clet.log import log
from clet.model import lora
from clet.model.checkpoint import load_model, tensors_root
from clet.model.config import ModelConfig
from clet.model.decoder import Decoder
from clet.model.initialise import check_tokenizer
from clet.shards.manifest import ShardEntry
from clet.tokens import MAX_TOKENIZER_BYTES, fingerprint
from clet.train import optimizer as optimisers
from clet.train.feed import Segment, Shard
from clet.train.rundir import RunDirectory
from clet.train.settings import ADAPTERS, Settings
from clet.train.share import divide, first_window, part_of
from clet.train.shelf import Shelf, open_listed

# Adapters learn at ten times the rate of fine-tuning all weights (Schulman et al. 2025, "LoRA Without Regret", at alpha
# 32). What stands below for all weights is a rate of pre-training; 4 times that is 1e-3 at a width of 1024, 2.5e-4 at
# 4096, which is what they find for the adapters of models of these widths.
ADAPTER_RATE = 4.0
ALPHA, ALPHA_STABILISED = 32.0, 8.0  # a scale of 2 at rank 16, both


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA where there is some. Raises UsageError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise UsageError(f"no device {name!r}; choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device here; use --device cpu")
    return torch.device(name)


def set_threads(wanted: int | None, recorded: int | None) -> int:
    """Fix torch's number of threads for this process: the number wanted, else the run's, else torch's own."""
    threads = wanted or recorded or torch.get_num_threads()
    if recorded and threads != recorded:
        log.warn(f"{threads} threads where the run began with {recorded}: losses may differ in their last bits")
    torch.set_num_threads(threads)
    return threads


def describe_run(run: RunDirectory, model: Decoder, source: Path, settings: Settings, seed: int) -> Settings:
    """Propose what a new run shall be, or check the present one against it; the settings in force.

    Nothing is kept yet, changed settings of a run no more than a new one: see `add_new_shards` and `keep_settings`.
    Raises UsageError where the run is another one.
    """
    shape = model.config.to_hf("float32")
    tokenizer, base = tokenizer_fingerprint(source), tensors_root(lora.base_state(model), torch.float32)
    if not run.facts:
        _check_finite(model, source)
        settings = settings.changed({"lr": settings.lr or default_peak(model, settings)})
        run.propose(
            {
                "seed": seed,
                "model": str(source.resolve()),
                "config": shape,
                "tokenizer": tokenizer,
                "base": base,
                "seq_len": None,
                "goal": None,
                "settings": settings.to_json(),
                "proven": None,
            }
        )
        return settings
    _check_fixed(run, settings)
    present = {"seed": seed, "tokenizer": tokenizer, "config": orjson.loads(orjson.dumps(shape)), "base": base}
    for name, now in present.items():
        if run.facts[name] != now:
            before = f" {run.facts[name]}" if name != "config" else ""
            what = "--model, with base" if name == "base" else name
            raise UsageError(f"{run.path}: begun with another {what}{before}; use the same, or start another --run")
    run.propose(run.facts | {"model": str(source.resolve())})  # the same one may lie elsewhere now
    return settings


def keep_settings(run: RunDirectory, settings: Settings) -> None:
    """Keep settings with the run, once nothing was found that would refuse them."""
    run.describe(run.facts | {"settings": settings.to_json()})


def take_back_settings(run: RunDirectory) -> None:
    """Keep the settings of the last release made without a trip, not those with which the breaker gave up."""
    now, proven = run.facts["settings"], run.facts["proven"]
    changed = [name for name in now if proven is not None and now[name] != proven.get(name)]
    if changed:
        told = ", ".join(f"--{name.replace('_', '-')} {now[name]}" for name in changed)
        log.warn(f"{run.path}: {told}: not kept, since the breaker gave up with that; what is kept is as it was")
        run.describe(run.facts | {"settings": proven})


def _check_finite(model: Decoder, source: Path) -> None:
    """Raises InputError for weights that would make every loss not a number, and every window a suspect."""
    for name, tensor in model.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{source}: {name} has values that are not finite; the model is damaged")


def default_peak(model: Decoder, settings: Settings) -> float:
    """The peak learning rate of a run that names none: by the model's width, more where adapters learn."""
    return optimisers.default_peak(model.config.hidden_size) * (1.0 if settings.lora is None else ADAPTER_RATE)


def _check_fixed(run: RunDirectory, settings: Settings) -> None:
    """Adapters of another form cannot go on from the saved ones, nor another optimizer. Raises UsageError."""
    began = Settings.from_json(run.facts["settings"])
    for name in (*ADAPTERS, "optimizer"):
        if getattr(settings, name) != (before := getattr(began, name)):
            flag = f"--{name.replace('_', '-')}"
            how = f"without {flag}" if before in (None, False) else f"with {flag} {before}"
            raise UsageError(f"{run.path}: begun {how}; go on with that, or start another --run")


def tokenizer_fingerprint(source: Path) -> str:
    """The fingerprint of a model directory's tokenizer.json. Raises InputError where there is none."""
    path = source / "tokenizer.json"
    try:
        with open(path, "rb") as file:
            spec = orjson.loads(file.read(MAX_TOKENIZER_BYTES))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; a model that learns needs its tokenizer.json") from None
    except orjson.JSONDecodeError:
        raise InputError(f"{path}: not JSON") from None
    return fingerprint(spec)


def adapters_of(settings: Settings) -> lora.LoraConfig | None:
    """The form of the adapters, or None where all weights are trained."""
    if settings.lora is None:
        return None
    alpha = settings.lora_alpha or (ALPHA_STABILISED if settings.lora_rs else ALPHA)
    return lora.LoraConfig(settings.lora, alpha, lora.parse_targets(settings.lora_targets), settings.lora_rs)


def open_model(source: Path, settings: Settings, device: torch.device, seed: int) -> Decoder:
    """The model to start from, with its adapters if it has any, its layers compiled if the settings say so.

    Weights are float32; those of a frozen base may stay as they are stored. Raises InputError for what is no model, or
    has another vocabulary than its tokenizer.
    """
    form = adapters_of(settings)
    stored = form is not None and settings.lora_base == "stored"
    model = load_model(source, dtype=None if stored else torch.float32, device=device)
    check_tokenizer(source, model.config)
    if form is not None:
        lora.attach(model, form, seed)
        learned, frozen = lora.num_learned(model), model.config.num_parameters()
        log.info(
            f"adapters of rank {form.rank}: {learned:,} weights learn, {learned * 16 / 1e6:.1f} MB with gradients and "
            f"moments; {frozen:,} stay, {lora.base_bytes(model) / 1e6:.1f} MB",
            event="adapters",
            learned=learned,
            frozen=frozen,
        )
    model.recompute = settings.recompute
    if settings.compile:
        model.compile_layers()
    return model


def open_goal(run: RunDirectory, tokens: int | None, done: int, *, unreleased: bool) -> int | None:
    """The number of tokens of the run at which an invocation given `--tokens` ends.

    The goal is kept in run.json until it is reached and released: a run that was interrupted and is started again
    with the same `--tokens` ends where it would have ended.
    """
    kept = run.facts["goal"]
    if tokens is not None and kept is not None and kept["tokens"] == tokens:
        goal = kept["from"] + tokens
        if done < goal or unreleased:
            return goal
    run.describe(run.facts | {"goal": None if tokens is None else {"from": done, "tokens": tokens}})
    return None if tokens is None else done + tokens


def close_goal(run: RunDirectory) -> None:
    """The invocation ended by itself: the next one has a goal of its own."""
    run.describe(run.facts | {"goal": None})


def open_shelf(run: RunDirectory, config: ModelConfig, entries: Iterable[ShardEntry]) -> Shelf:
    """The shelf of the run's shards; a shard that is named now is read from where it is now."""
    seq_len = run.facts["seq_len"] or 0
    shelf = Shelf(run.facts["tokenizer"], seq_len, config.vocab_size)
    for segment in run.segments:
        for shard in segment.shards:
            shelf.add(shard)
    known = {shard.root: shard.path for segment in run.segments for shard in segment.shards}
    moved = {}
    for entry in entries:
        if entry.root in known:
            shelf.add(shard := as_shard(entry))
            if not Path(known[entry.root]).exists():
                moved[entry.root] = shard.path
    if moved:
        run.relocate(moved)
    return shelf


def add_new_shards(
    run: RunDirectory, shelf: Shelf, config: ModelConfig, settings: Settings, entries: Sequence[ShardEntry]
) -> Segment | None:
    """A new segment of the shards that are this trainer's and that the run has not seen, or None.

    Raises InputError for one that does not fit, UsageError for one that was begun under another division.
    """
    known = {shard.root: shard for segment in run.segments for shard in segment.shards}
    new: dict[str, Shard] = {}
    mine = divide(entries, settings.lanes, settings.share)
    for entry in entries:
        if entry.root not in mine:
            continue
        part, parts = mine[entry.root]
        if (before := known.get(entry.root)) is None:
            shard = replace(as_shard(entry), first=first_window(entry.root, part, parts), parts=parts)
            if shard.own:
                new.setdefault(entry.root, shard)
        elif (begun := (part_of(before.root, before.first, before.parts), before.parts)) != (part, parts):
            was, now = ("{}/{}".format(*pair) for pair in (begun, (part, parts)))
            raise UsageError(
                f"{run.path}: begun with {was} of shard {before.name}, not {now}; "
                f"change behind it, as in --share {was},{now}@{before.name}"
            )
    if not new:
        return None
    first = open_listed(next(iter(new.values())).path, run.facts["tokenizer"])
    seq_len = run.facts["seq_len"] or first.seq_len
    if seq_len > config.max_positions:
        raise InputError(f"{first.path}: windows of {seq_len} tokens, the model has {config.max_positions} positions")
    shelf.set_seq_len(seq_len)
    for shard in new.values():
        shelf.add(shard)
        shelf.reader(shard.root)
    run.describe(run.facts | {"seq_len": seq_len})
    for root in new:
        run.keep_documents(root, shelf.reader(root).documents())
    return run.add_segment(list(new.values()), settings.epochs)


def as_shard(entry: ShardEntry) -> Shard:
    """A shard of a manifest as the run keeps it."""
    return Shard(
        path=str(Path(entry.path).resolve()),
        name=entry.name,
        root=entry.root,
        lane=entry.lane,
        windows=entry.num_windows,
        tokens=entry.num_tokens,
        documents=entry.num_documents,
        newest=entry.newest,
    )
