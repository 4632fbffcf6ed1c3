"""clet init: make or adopt a model directory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from clet.commands.flags import DEFAULT_SEED, Seed
from clet.exits import ExitCode, UsageError
from clet.log import Counts, log


def main(
    directory: Annotated[
        str, typer.Argument(metavar="DIR", help="The directory to make; absent or empty.", show_default=False)
    ],
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="More files for --corpus, as a shell's glob gives.", show_default=False),
    ] = None,
    *,
    preset: Annotated[
        str | None, typer.Option("--preset", metavar="NAME", help="Shape: pico, nano, micro, small or base.")
    ] = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option("--corpus", metavar="FILE", help="Learn the vocabulary from this stream, text file or folder."),
    ] = None,
    vocab: Annotated[
        int | None,
        typer.Option(
            "--vocab", metavar="N", help="Size of the vocabulary; default is the preset's.", show_default=False
        ),
    ] = None,
    moe: Annotated[bool, typer.Option("--moe", help="Mixture of experts: 8, of which a token uses 2.")] = False,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="HF_DIR", envvar="CLET_INIT_FROM", help="Adopt this Hugging Face directory instead."
        ),
    ] = None,
    seed: Seed = DEFAULT_SEED,
) -> int:
    """Make a model directory in Hugging Face layout: random weights in a preset's shape, or an adopted model.

    With --preset, a byte-level BPE vocabulary is learned from the corpus. With --from, an existing Qwen3, Qwen3-MoE,
    Qwen2 or Llama directory with safetensors is checked and copied. DIR appears whole or not at all.
    """
    operands = [*(corpus or []), *(files or [])]
    if (preset is None) == (source is None):
        raise UsageError("say either --preset NAME --corpus FILE..., or --from HF_DIR")
    if source is not None and (operands or vocab is not None or moe):
        raise UsageError("--from takes shape and vocabulary from HF_DIR; leave out --corpus, --vocab and --moe")
    if preset is not None and not operands:
        raise UsageError("a vocabulary is learned from text: add --corpus FILE...")

    from clet.model.initialise import adopt, create

    counts = Counts()
    if source is not None:
        made = adopt(source, directory)
        counts.records_in = counts.records_out = len(made.hashes)
    else:
        made = create(directory, preset, _counted(operands, counts), vocab, seed, moe)
    counts.extra = {
        "parameters": made.config.num_parameters(),
        "active_parameters": made.config.num_parameters(active=True),
        "vocabulary": made.num_tokens,
    }
    kind = f"{made.config.architecture}, {made.config.num_layers} layers of {made.config.hidden_size}"
    log.info(f"{directory}: {kind}, {counts.extra['parameters'] / 1e6:.1f} M parameters, {made.num_tokens} token ids")
    log.summary(counts)
    return ExitCode.SOME_BAD if counts.bad else ExitCode.OK


def _counted(operands: list[str], counts: Counts) -> Iterator[str]:
    """The texts of the corpus, counted; bad lines are reported and passed over."""
    from clet.model.corpus import corpus_texts

    def bad(place: str, reason: str, line: bytes) -> None:
        counts.bad += 1
        log.error(f"{place}: {reason}")

    for text in corpus_texts(operands, bad):
        counts.records_in += 1
        counts.records_out += 1
        yield text
