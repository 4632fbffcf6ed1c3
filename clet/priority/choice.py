"""Who leaves the window: one walk down the sorted records, through all shares and budgets at once.

See `clet.priority.window` for the rules. The walk is sequential because each record that leaves uses up some of what
the next one is measured by; it is compiled, and reads no text.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clet.kernels import njit
from clet.priority import flood, poison_budget
from clet.priority.assess import is_corrected
from clet.priority.burst import is_settled, still_alarming
from clet.priority.credibility import WRONG
from clet.priority.novelty import TOTAL, WEIGHT

STAY, EMIT, SHARE, BUDGET, FLOOD, BURST = 0, 1, 2, 3, 4, 5
_POISON = 6  # and the codes behind it: those of the poison budget
REASONS = ("", "", "share", "budget", "flood", "burst", *poison_budget.REASONS[1:])
SUSPICIOUS = frozenset(REASONS[BURST:])  # what a person should look at

CORRECTED = 0.2  # of the score that is left to a document that says what was corrected


class Rules(NamedTuple):
    """What the walk has to keep to."""

    limits: poison_budget.Limits
    topic_share: float = 0.0  # 0: no limit
    bursts: bool = False


@njit
def rescore(m, held):
    """Set the keys of records: their score, what was learned about them since, and how long they wait."""
    for i in range(len(held)):
        h = held[i]
        score = h.score
        can_be = not h.correction and not h.approved and h.topic >= 0
        if can_be and (h.claimed or is_corrected(m, h.topic, h.family, h.title, h.origin)):
            if not h.corrected:
                h.score *= CORRECTED
                h.corrected = 1
            score = h.score
        h.key = score - h.rank


@njit
def _book(m, ledger, flow, taken, totals, h):
    taken[h.origin] += h.tokens
    totals[0] += h.tokens
    flood.emit(flow, m.topics, h.topic, h.tokens)
    if not h.approved:
        poison_budget.book(ledger, m.reputation, h.origin, h.family, h.keys, h.tokens)


@njit
def _allowance(share, base, budget, others_took, others_wait, ends):
    """Tokens that an origin may have before the others had theirs: its share, or what the others cannot use.

    Who could still come is unknown until the budget `ends`; without one, a share only says who goes first.
    """
    if budget < 0:
        return share * base if others_wait > 0 else np.inf
    return max(share * base, np.float64(budget - others_took - others_wait)) if ends else share * base


@njit
def choose(held, m, ledger, flow, rules, taken, totals, budget, share, records, size, final, lapses):
    """A code for each of `held`, sorted best first: STAY, EMIT, or why it is dropped; and the places of those to EMIT.

    At least `records` records and `size` bytes are to go. `budget` is in tokens, -1 for none; `taken` and `totals` are
    the account by origin and altogether. `final`: nothing may stay. `lapses`: what fits the budget leaves, as it ends.
    """
    count = len(held)
    codes = np.zeros(count, np.int8)
    places, left = np.zeros(count, np.int64), 0
    waiting = np.int64(0)
    by_origin = np.zeros(len(taken), np.int64)
    for i in range(count):
        waiting += held[i].tokens
        by_origin[held[i].origin] += held[i].tokens
    gone, gone_bytes = 0, np.int64(0)
    if budget >= 0 and not final and not lapses:
        # From the worst on: first those above the share of their origin, then those that the budget cannot take.
        for why in (SHARE, BUDGET):
            for back in range(count):
                i = count - 1 - back
                h = held[i]
                if gone >= records and gone_bytes >= size:
                    break
                if codes[i] != STAY:
                    continue
                if why == BUDGET:
                    if waiting <= budget - totals[0]:
                        break
                elif by_origin[h.origin] <= share * budget - taken[h.origin]:
                    continue
                # What the budget could never take is owed to the budget, whoever it is from.
                codes[i] = why if h.tokens <= budget - totals[0] else BUDGET
                by_origin[h.origin] -= h.tokens
                waiting -= h.tokens
                gone += 1
                gone_bytes += h.size
    alarms = rules.bursts and is_settled(m.bursts, m.grams.sums[TOTAL] / m.grams.sums[WEIGHT])
    base = np.float64(budget) if budget >= 0 else np.float64(totals[0] + waiting)
    ends = final or lapses
    took, waits, before = totals[0], waiting, taken.copy()
    # What had passed when a record stepped aside for its share, and what had when all had their turn within it.
    stepped, turned, displaced = np.full(count, -1, np.int64), totals[0], np.int64(0)
    for turn in range(2):
        if turn == 1:
            turned = totals[0]
        # First those within their share; then, where something has to go and nothing else can, the others.
        for i in range(count):
            if gone >= records and gone_bytes >= size and not final:
                break
            h = held[i]
            if codes[i] != STAY:
                continue
            if budget >= 0 and totals[0] + h.tokens > budget:
                if final:
                    # Its share is why where it would have passed but for what is worth less and went before it.
                    passed_by = turned - stepped[i] if turn == 1 and stepped[i] >= 0 else 0
                    no_room = totals[0] - passed_by + displaced + h.tokens > budget
                    codes[i] = BUDGET if no_room else SHARE
                    displaced += 0 if no_room else h.tokens
                    waiting -= h.tokens
                continue
            if turn == 0 and share < 1.0:
                own = h.origin
                most = _allowance(share, base, budget, took - before[own], waits - by_origin[own], ends)
                if taken[own] + h.tokens > most:
                    stepped[i] = totals[0]
                    h.aside = 1
                    continue
            if not flood.fits(flow, m.topics, h.topic, h.tokens, waiting, rules.topic_share):
                continue
            code = EMIT
            if not h.approved:
                if alarms and still_alarming(m.bursts, h.phrase, h.tag):
                    code = BURST
                    m.reputation.period[h.origin, WRONG] += 1.0
                else:
                    why = poison_budget.refusal(
                        ledger, rules.limits, m.reputation, h.origin, h.family, h.keys, h.tokens
                    )
                    if why:
                        code = _POISON + why - 1
            codes[i] = code
            if code == EMIT:
                _book(m, ledger, flow, taken, totals, h)
                places[i] = left
                left += 1
            waiting -= h.tokens
            gone += 1
            gone_bytes += h.size
        if budget >= 0 and not ends:
            break
    if final or not lapses:
        for back in range(count):
            i = count - 1 - back
            if codes[i] == STAY and (final or gone < records or gone_bytes < size):
                codes[i] = FLOOD if budget < 0 or totals[0] + held[i].tokens <= budget else BUDGET
                gone += 1
                gone_bytes += held[i].size
    return codes, places
