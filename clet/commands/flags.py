"""The flags that mean the same in every command, declared once."""

from __future__ import annotations

from typing import Annotated

import typer

from clet.seeds import DEFAULT_SEED

Inputs = Annotated[
    list[str] | None,
    typer.Argument(metavar="FILE", help="Files of records, in order; none or - is stdin.", show_default=False),
]
Output = Annotated[
    str, typer.Option("--output", "-o", metavar="FILE", help="Write to FILE, whole or not at all; - is stdout.")
]
StateDir = Annotated[
    str | None, typer.Option("--state", metavar="DIR", help="Remember between runs in DIR (locked, crash-safe).")
]
Rejects = Annotated[
    str | None, typer.Option("--rejects", metavar="FILE", help="Keep dropped and bad records in FILE, with the reason.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, metavar="N", help="Seed of every random choice.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, max=1024, metavar="N", help="Cores to use.")]
Cores = Annotated[
    int | None,
    typer.Option("--jobs", "-j", min=1, max=1024, metavar="N", help="Cores to use (all).", show_default=False),
]
Limit = Annotated[
    int | None, typer.Option("--limit", "-n", min=0, metavar="N", help="Stop after N records.", show_default=False)
]
Follow = Annotated[bool, typer.Option("--follow", help="Keep running and take in what arrives.")]
Plain = Annotated[
    bool, typer.Option("--plain", envvar="CLET_PLAIN", help="Write plain JSONL, also into files and pipes.")
]
MaxErrors = Annotated[
    int | None,
    typer.Option("--max-errors", min=0, metavar="N", help="Give up after more than N bad records.", show_default=False),
]
TokenizerPath = Annotated[
    str | None,
    typer.Option("--tokenizer", metavar="DIR|FILE", help="A tokenizer.json, or a model directory that has one."),
]

__all__ = [
    "DEFAULT_SEED",
    "Cores",
    "Follow",
    "Inputs",
    "Jobs",
    "Limit",
    "MaxErrors",
    "Output",
    "Plain",
    "Rejects",
    "Seed",
    "StateDir",
    "TokenizerPath",
]
