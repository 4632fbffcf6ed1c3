"""clet prioritize: judge, order and budget documents."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from clet.commands.flags import Inputs, Limit, MaxErrors, Output, Plain, Rejects, StateDir, TokenizerPath
from clet.exits import InputError, UsageError
from clet.log import log

if TYPE_CHECKING:
    from datetime import datetime

    from clet.batch import Batch
    from clet.state import State
    from clet.tokens import Tokenizer

PolicyFile = Annotated[
    str | None,
    typer.Option(
        "--policy", metavar="FILE", help="What to learn and what not, as clet-policy(5) describes.", show_default=False
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="TOKENS",
        help="Let at most TOKENS pass, in a run or, with --state, in a day (UTC).",
        show_default=False,
    ),
]
Share = Annotated[
    float,
    typer.Option(
        "--share", metavar="F", min=0.01, max=1.0, help="Share of the tokens that one origin gets before others."
    ),
]
WindowSize = Annotated[
    str,
    typer.Option(
        "--window", metavar="S", help="How much waits for better: 10000 (records), or 64M (bytes; K, M or G)."
    ),
]
Now = Annotated[
    str | None,
    typer.Option(
        "--now", metavar="T", help="Measure age from T (RFC 3339) instead of the newest fetch time.", show_default=False
    ),
]
HalfLife = Annotated[
    float, typer.Option("--half-life", metavar="DAYS", min=0.001, help="Age at which a document is half as fresh.")
]
Explain = Annotated[bool, typer.Option("--explain", help="Say on stderr what gave each record its place.")]
QuarantineFile = Annotated[
    str | None,
    typer.Option(
        "--quarantine",
        metavar="FILE",
        help="Hold suspicious records back in FILE for clet judge review; needs --state.",
        show_default=False,
    ),
]
Gate = Annotated[
    int | None,
    typer.Option(
        "--gate",
        metavar="N",
        min=0,
        help="The model gate passed last: above the highest so far, poison budgets begin anew; needs --state.",
        show_default=False,
    ),
]
Run = Annotated[
    str | None,
    typer.Option(
        "--run",
        metavar="RUN",
        help="Take the gate from the release that is live in this run; needs --state.",
        show_default=False,
    ),
]

Fleet = Annotated[
    str | None,
    typer.Option(
        "--fleet",
        metavar="FILE",
        help="Give each record a lane, so that these devices meet --budget in time at least energy.",
        show_default=False,
    ),
]
ModelPath = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="DIR",
        help="Take novelty from this model's loss instead of the n-gram model's.",
        show_default=False,
    ),
]
Reference = Annotated[
    str | None,
    typer.Option(
        "--reference",
        metavar="DIR",
        help="A trained model: what its loss leaves of that of --model can be learned.",
        show_default=False,
    ),
]
Warmup = Annotated[
    str | None,
    typer.Option(
        "--warmup",
        metavar="TOKENS",
        help="While the run has learned less than TOKENS, what is easy goes first; needs --run.",
        show_default=False,
    ),
]

ClassifierFile = Annotated[
    str | None,
    typer.Option(
        "--classifier", metavar="FILE", help="Let a model of clet judge fit count for quality.", show_default=False
    ),
]
SyntheticFile = Annotated[
    str | None,
    typer.Option(
        "--synthetic",
        metavar="FILE",
        help="Weigh down what a model of clet judge fit --kind synthetic finds machine-written.",
        show_default=False,
    ),
]

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def main(
    inputs: Inputs = None,
    *,
    output: Output = "-",
    policy: PolicyFile = None,
    classifier: ClassifierFile = None,
    synthetic: SyntheticFile = None,
    tokenizer: TokenizerPath = None,
    state: StateDir = None,
    budget: Budget = None,
    share: Share = 0.5,
    window: WindowSize = "10000",
    now: Now = None,
    half_life: HalfLife = 7.0,
    fleet: Fleet = None,
    model: ModelPath = None,
    reference: Reference = None,
    run: Run = None,
    warmup: Warmup = None,
    gate: Gate = None,
    quarantine: QuarantineFile = None,
    explain: Explain = False,
    rejects: Rejects = None,
    limit: Limit = None,
    max_errors: MaxErrors = None,
    plain: Plain = False,
) -> int:
    """Drop records that are not worth learning, and pass the others best first within budgets.

    Best is what is good, credible, new and fresh. Each dropped record has a reason.
    """
    from datetime import UTC, datetime

    from clet.priority import remember
    from clet.priority.classifier import Model
    from clet.priority.masking import Masker
    from clet.priority.order import Knowledge, Prioritizer, Settings, Ways
    from clet.priority.policy import Policy, load_policy
    from clet.priority.quality import QualityTables
    from clet.priority.quarantine import HELD, Quarantine, check_place
    from clet.priority.recency import DAY_S, Clock
    from clet.priority.share import Account
    from clet.priority.window import MAX_BYTES, MAX_RECORDS
    from clet.record import format_time
    from clet.stage import Stage
    from clet.state import State
    from clet.tokens import Tokenizer

    for name, value in (("--quarantine", quarantine), ("--gate", gate), ("--run", run)):
        if value not in (None, "") and not state:
            raise UsageError(f"{name} needs --state, where it is remembered")
    if gate is not None and run:
        raise UsageError("--gate and --run both name the gate; give one of them")
    if reference and not model:
        raise UsageError("--reference is compared with --model; name both")
    if warmup and not run:
        raise UsageError("--warmup needs --run, which says how much was learned")
    if fleet and budget is None:
        raise UsageError("--fleet plans for --budget; give one")
    if quarantine and state:
        check_place(quarantine, [*(inputs or []), output, rejects], state)
    max_records, max_bytes = _window(window, MAX_RECORDS, MAX_BYTES)
    rules = load_policy(policy) if policy else Policy()
    if rules.masks and not tokenizer:
        raise UsageError(f"{policy}: has a rule that masks, for which --tokenizer has to say what tokens stand for")
    encoder = Tokenizer.load(tokenizer) if tokenizer else None
    quality = QualityTables.of(
        encoder,
        classifier=Model.load(classifier, "quality") if classifier else None,
        synthetic=Model.load(synthetic, "synthetic") if synthetic else None,
    )
    account = Account(_tokens(budget, "--budget"), share)
    router = _router(fleet) if fleet else None
    loss = _loss(model, reference) if model else None
    with State.open(state, "prioritize", remember.PARAMS) if state else nullcontext() as opened:
        newest = _time(opened.values.get("clock"), "the state's clock") if opened is not None else None
        fixed = _time(now, "--now")
        latest = max(filter(None, (datetime.now(UTC), fixed)))
        clock = Clock(fixed, newest, latest)
        known = remember.load(opened) if opened is not None else Knowledge()
        account.origins = known.origins
        held = None
        if opened is not None:
            if newest and not fixed and clock.now is None:
                log.warn(f"the state's clock, {format_time(newest)}, is ahead of this machine's: it begins anew")
            remember.forget_after(known, int(latest.timestamp()) // DAY_S)
            account.load(opened.values.get("days", {}), latest.date().isoformat())
            account.turn(clock.day)
            day = int(clock.now.timestamp()) // DAY_S if clock.now else 0
            if gate is not None or run:
                series = _run_at(run, remember.gates_of(opened)) if run else "--gate"
                if remember.pass_gate(known, opened, series, _live(run) if run else gate, day):
                    log.detail("a model gate was passed: poison budgets begin anew")
            if rules.limits.documents and not any(remember.gates_of(opened).values()):
                none_yet = f"{run} has no live release" if run else "no model gate is known"
                log.warn(f"{none_yet}: poison budgets do not begin anew{'' if run else '; give --run or --gate'}")
            if run:
                known.mixture.read(run)
            if quarantine:
                held = Quarantine(quarantine, opened, clock.text)
        try:
            with Stage(
                inputs,
                output,
                rejects=rejects,
                state=held or opened,
                plain=plain,
                limit=limit,
                max_errors=max_errors,
            ) as stage:

                def hold(batch: Batch, reasons: list[str]) -> list[str]:
                    became = held.add(batch, reasons)
                    stage.counts.rejected.update(why for why in became if why.startswith(HELD))
                    gone = [row for row, why in enumerate(became) if not why.startswith(HELD)]
                    stage.reject_all(batch.take(gone), [became[row] for row in gone])
                    return became

                def count(reason: str, number: int) -> None:
                    stage.counts.rejected[reason] += number

                explained = _explain if explain else None
                ways = Ways(stage.reject_all, hold if held else None, explained, None if rejects else count)
                prioritizer = Prioritizer(
                    account,
                    clock,
                    ways,
                    policy=rules,
                    knowledge=known,
                    settings=Settings(half_life, opened is not None, max_records, max_bytes, _stage(run, warmup)),
                    approved=held.approved if held else frozenset(),
                    router=router,
                    loss=loss,
                    masker=Masker(encoder) if rules.masks else None,
                    quality=quality,
                )
                tokens = _OneTokenizer(encoder, opened)
                for batch in prioritizer.run(map(tokens.check, _input(stage, held, explained))):
                    if held:
                        held.note_passed(batch)
                    stage.write(batch)
                if opened is not None:
                    opened.values |= {"days": account.to_json(), "clock": clock.text, "tokenizer": tokens.fingerprint}
                    remember.save(known, opened)
                if clock.unbelieved:
                    log.warn(
                        f"{clock.unbelieved} records were fetched later than now, by this machine's clock: the time"
                        " they give does not count"
                    )
                stage.counts.extra["now"] = format_time(clock.now)
                if router:
                    stage.counts.extra["lanes"] = dict(zip(router.names, router.tokens.tolist(), strict=True))
                if rules.applied:
                    stage.counts.extra["policy"] = dict(rules.applied)
        finally:
            if held:
                held.abort()
        return stage.status


class _OneTokenizer:
    """Sees that all token ids are one tokenizer's: n-grams of several would be counted as one language."""

    def __init__(self, encoder: Tokenizer | None, state: State | None):
        known = state.values.get("tokenizer") if state is not None else None
        self.fingerprint, self._whose = known, "the state learned"
        if encoder is not None:
            if known not in (None, encoder.fingerprint):
                raise InputError(_differ("--tokenizer is", encoder.fingerprint, "the state learned", known))
            self.fingerprint, self._whose = encoder.fingerprint, "--tokenizer is"

    def check(self, batch: Batch) -> Batch:
        """The batch. Raises InputError where its ids are of another tokenizer."""
        if batch.fingerprint is not None:
            if self.fingerprint is None:
                self.fingerprint, self._whose = batch.fingerprint, "those before have"
            elif batch.fingerprint != self.fingerprint:
                raise InputError(_differ("records carry tokens of", batch.fingerprint, self._whose, self.fingerprint))
        return batch


def _differ(what: str, one: str, other: str, another: str) -> str:
    return f"{what} tokenizer {one[:12]}, {other} {another[:12]}; give each tokenizer a pipeline of its own"


def _input(stage, held, explained):
    """What a person approved, then the input without what a person has decided about before."""
    if not held:
        yield from stage.batches()
        return

    def refuse(batch: Batch, reasons: list[str]) -> None:
        stage.reject_all(batch, reasons)
        if explained:
            explained(batch, reasons)

    from clet.priority.quarantine import REFUSED

    for batch in held.refused():
        stage.counts.records_in += len(batch)
        refuse(batch, [REFUSED] * len(batch))
    for batch in held.released():
        stage.counts.records_in += len(batch)
        yield batch
    for batch in stage.batches():
        why = held.screen(batch)
        if any(why):
            gone = [row for row, reason in enumerate(why) if reason]
            refuse(batch.take(gone), [why[row] for row in gone])
            batch = batch.take([row for row, reason in enumerate(why) if not reason])
        if len(batch):
            yield batch


def _run_at(run: str, known: dict[str, int]) -> str:
    """Where a run is, or is to begin: the name of its series of gates. Raises UsageError for what is no run.

    A run that is yet to begin has no directory, or an empty one. Once the state knows a run, only the latter: a name
    without a directory is then more likely a mistyped one, under which gates would be missed.
    """
    from clet.release import is_run

    place = os.path.realpath(run)
    if is_run(place):
        return place
    if os.path.isdir(place):
        if os.listdir(place) in ([], ["lock"]):
            return place
    elif not os.path.exists(place):
        others = [name for name in known if name.startswith("/")]
        if not others or place in others:
            return place
        raise UsageError(f"--run {run}: does not exist, and the state knows {others[-1]}; a new run needs a directory")
    raise UsageError(f"--run {run}: is no run; name what clet train --run makes")


def _live(run: str) -> int:
    from clet.release import tier_number

    return tier_number(run, "live") or 0


def _explain(batch: Batch, reasons: list[str | None]) -> None:
    for row, reason in enumerate(reasons):
        fields = batch.fields(row)
        note = fields.get("priority")
        note = note if isinstance(note, dict) else {}
        facts = "".join(f" {name}={value}" for name, value in note.items())
        log.info(f"{fields['id']} {reason or 'kept'}{facts}", event="explain", id=fields["id"], reason=reason, **note)


def _router(fleet: str):
    """The router of a fleet, whose plans are printed."""
    from clet.priority.routing import Plan, Router, load_fleet

    def say(planned: Plan) -> None:
        for lane in planned.lanes:
            said = f"lane {lane.device.name}: {lane.tokens} tokens, {lane.seconds:.0f} s, {lane.joules:.0f} J"
            log.info(said, event="lane")
        for name, (seconds, joules) in planned.alone().items():
            said = f"all on {name}: {seconds:.0f} s, {joules:.0f} J against {planned.joules:.0f} J planned"
            log.info(said, event="lane")
        if planned.left_over:
            log.warn(
                f"{fleet}: {planned.left_over} tokens of the budget are more than the fleet can learn in time: they"
                " do not pass"
            )

    return Router(load_fleet(fleet), say)


def _loss(model: str, reference: str | None):
    from clet.evaluate.documents import LossOf
    from clet.priority.novelty import excess

    scored, known = LossOf(model), LossOf(reference) if reference else None
    return lambda batch: excess(scored.bits(batch), known.bits(batch)) if known else scored.bits(batch)


def _stage(run: str | None, warmup: str | None) -> float:
    """How far the curriculum is from its end: 1 at the start, 0 once the run learned `warmup` tokens."""
    if not run or not warmup:
        return 0.0
    from clet.priority.curriculum import weight
    from clet.priority.mixture import tokens_learned

    return weight(tokens_learned(run), _tokens(warmup, "--warmup"))


def _tokens(text: str | None, flag: str) -> int | None:
    if text is None:
        return None
    try:
        tokens = int(text.replace("_", ""))
    except ValueError:
        tokens = -1
    if tokens < 0:
        raise UsageError(f"{flag} {text}: give a number of tokens, such as 50_000_000")
    return tokens


def _window(text: str, max_records: int, max_bytes: int) -> tuple[int, int]:
    """(records, bytes); memory stays bounded by bytes also where records are counted, and the other way round."""
    number, unit = text[:-1] if text[-1:] in _UNITS else text, text[-1:]
    if not number.isascii() or not number.isdigit() or int(number) == 0:
        raise UsageError(f"--window {text}: give a number of records, or of bytes with K, M or G")
    if unit in _UNITS:
        return 1 << 30, int(number) * _UNITS[unit]
    return int(number), max_bytes


def _time(text: str | None, name: str) -> datetime | None:
    from clet.record import parse_time

    try:
        return None if text is None else parse_time(text)
    except ValueError:
        raise UsageError(f"{name} {text}: not a time; write 2026-03-01T12:00:00Z") from None
