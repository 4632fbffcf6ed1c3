"""Measure what a model knows."""

from __future__ import annotations

from typing import Annotated

import typer

from clet.commands.flags import Limit, TokenizerPath
from clet.cores import share_cores
from clet.exits import NothingToDo, UsageError
from clet.log import Counts, log


def perplexity(
    model: Annotated[str, typer.Argument(metavar="MODEL|RUN", help="A model directory or a run.", show_default=False)],
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="Records or shards; none or - is stdin.", show_default=False),
    ] = None,
    *,
    tier: Annotated[
        str, typer.Option("--tier", metavar="NAME", help="Of a run: live, realtime, static or a number.")
    ] = "live",
    tokenizer: TokenizerPath = None,
    seq_len: Annotated[
        int | None,
        typer.Option(
            "--seq-len", min=2, metavar="N", help="Longest context; 512 if the model has it.", show_default=False
        ),
    ] = None,
    limit: Limit = None,
) -> int:
    """Perplexity and bits per byte on held-out documents, in all and by source, as one JSON object.

    Records are scored by the tokens they carry if those are of the model's tokenizer, else their text is tokenised.
    """
    import orjson

    from clet.release import find_model
    from clet.sinks import Sink
    from clet.streams import stdin_is_idle_terminal

    if stdin_is_idle_terminal(files or []):
        raise UsageError("no input: name a file, or pipe records in; see clet eval perplexity --help")
    directory = find_model(model, tier)
    share_cores()

    from clet.evaluate.perplexity import evaluate_files
    from clet.model.checkpoint import load_model
    from clet.tokens import Tokenizer

    scores = evaluate_files(
        load_model(directory), files or ["-"], Tokenizer.load(tokenizer or directory), seq_len=seq_len, limit=limit
    )
    total = scores.total
    if not total.tokens:
        raise NothingToDo("no document of two tokens or more: nothing to predict")
    sink = Sink("-")
    sink.write(orjson.dumps({"model": str(directory)} | scores.to_json()) + b"\n")
    sink.close()
    log.summary(Counts(records_in=total.documents, records_out=total.documents, tokens=total.tokens))
    return 0


SUBCOMMANDS = {"perplexity": perplexity}
