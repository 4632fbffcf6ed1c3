"""clet judge fit: fit a classifier of texts on examples; `clet.commands.judge` lists it."""

from __future__ import annotations

from typing import Annotated

import typer

from clet.commands.flags import MaxErrors, Seed
from clet.exits import ExitCode, InputError, UsageError
from clet.log import Counts, log

Good = Annotated[
    list[str],
    typer.Option("--good", metavar="FILE", help="Records one wants more of, or by people; may be repeated."),
]
Bad = Annotated[
    list[str],
    typer.Option("--bad", metavar="FILE", help="Records one wants less of, or by machines; may be repeated."),
]
ModelFile = Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="The model to write.")]
Kind = Annotated[str, typer.Option("--kind", metavar="KIND", help="quality, or synthetic for texts by machines.")]
Epochs = Annotated[
    int | None,
    typer.Option("--epochs", min=1, max=100, metavar="N", help="Passes over the examples.", show_default=False),
]
TokenizerOf = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        metavar="DIR|FILE",
        help="Whose ids to read where the records' text was left out.",
        show_default=False,
    ),
]


def fit(
    *,
    good: Good,
    bad: Bad,
    output: ModelFile,
    kind: Kind = "quality",
    tokenizer: TokenizerOf = None,
    epochs: Epochs = None,
    seed: Seed = 0,
    max_errors: MaxErrors = None,
) -> int:
    """Fit a classifier on good and bad examples, for clet prioritize.

    It learns words and pairs of words, whatever the tokenizer. A tenth of the examples is held out: it calibrates the
    probability and measures what is printed, the area under the ROC curve (AUC) and the calibration error.
    """
    import orjson

    from clet.priority.classifier import KINDS
    from clet.priority.fitting import EPOCHS
    from clet.priority.fitting import fit as fit_model
    from clet.priority.textstats import TokenTable
    from clet.sinks import Sink
    from clet.streams import same_file
    from clet.tokens import Tokenizer

    if kind not in KINDS:
        raise UsageError(f"--kind {kind}: there are {' and '.join(KINDS)}")
    if output == "-":
        raise UsageError("--output -: a model is a file; name one")
    if same_file(output, [*good, *bad]):
        raise UsageError(f"{output}: is both input and output; write to another file")
    counts = log.counts = Counts()

    def on_bad(place: str, reason: str, line: bytes) -> None:
        counts.bad += 1
        log.error(f"{place}: {reason}")
        if max_errors is not None and counts.bad > max_errors:
            raise InputError(f"more than {max_errors} bad records; giving up")

    table = TokenTable(Tokenizer.load(tokenizer)) if tokenizer else None
    report = fit_model(good, bad, kind=kind, seed=seed, epochs=epochs or EPOCHS, table=table, on_bad=on_bad)
    report.model.save(output)
    about = report.model.about
    counts.records_out = about["good"] + about["bad"]
    counts.records_in = counts.records_out + report.empty + counts.bad
    counts.extra |= {"empty": report.empty}
    sink = Sink("-")
    sink.write(orjson.dumps({"model": output, "kind": kind} | about) + b"\n")
    sink.close()
    log.summary(counts)
    return ExitCode.SOME_BAD if counts.bad else ExitCode.OK
