"""The poison budget as an invariant: whatever is written, nobody passes more than the limits between two gates."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from priority_runs import run, story

from clet.priority import remember
from clet.priority.order import Knowledge
from clet.priority.origins import CAPACITY
from clet.priority.poison_budget import Limits, limit_of, new_ledger, open_gate, refusal
from clet.priority.policy import Policy
from clet.priority.share import Account
from clet.state import State

LIMITS = Limits(documents=6, tokens=250, newcomer_documents=3, newcomers=0.0, cluster_documents=2)


def record_of(number: int, origin: str, cluster: int):
    return story(number, 20 + number % 40, origin=origin) | {"dedup": {"cluster": f"{cluster:032x}"}}


documents = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), max_size=25)
# What happens one after the other: a run over documents (killed before its commit or not), or a gate.
events = st.lists(
    st.one_of(st.tuples(st.just("run"), documents, st.booleans()), st.just(("gate", [], False))), max_size=8
)


@settings(max_examples=25, deadline=None)
@given(events=events)
def test_no_origin_and_no_cluster_passes_its_limit_between_gates_over_restarts_and_kills(events, tmp_path_factory):
    path = tmp_path_factory.mktemp("state")
    by_origin, by_cluster, tokens = Counter(), Counter(), Counter()
    gate = number = 0
    for kind, rows, killed in events:
        if kind == "gate":
            gate += 1
            by_origin, by_cluster, tokens = Counter(), Counter(), Counter()
            continue
        with State.open(path, "prioritize", remember.PARAMS) as state:
            known = remember.load(state)
            remember.pass_gate(known, state, "run", gate, 0)
            records = [record_of(number + i, origin, cluster) for i, (origin, cluster) in enumerate(rows)]
            number += len(records)
            out, rejected, held = run(records, policy=Policy(limits=LIMITS), knowledge=known, account=Account())
            assert len(out) + len(rejected) + len(held) == len(records)
            if killed:
                continue  # nothing was committed, and whoever read the output of a killed run discards it
            remember.save(known, state)
            state.commit()
        for r in out:
            by_origin[r["origin"]] += 1
            tokens[r["origin"]] += r["tok"]["n"]
            by_cluster[r["dedup"]["cluster"]] += 1
        assert max(by_origin.values(), default=0) <= LIMITS.documents
        assert max(tokens.values(), default=0) <= LIMITS.tokens
        assert max(by_cluster.values(), default=0) <= LIMITS.cluster_documents


def test_what_is_over_the_budget_is_held_back_with_its_reason():
    records = [record_of(i, "a", i) for i in range(8)] + [record_of(20 + i, "bcd"[i], 99) for i in range(3)]
    out, rejected, held = run(records, policy=Policy(limits=LIMITS))
    assert Counter(why for _, why in held) == {"origin-budget": 5, "cluster-budget": 1}
    assert (len(out), rejected) == (5, [])
    _, rejected, held = run(records, policy=Policy(limits=LIMITS), quarantine=False)
    assert (len(rejected), held) == (6, [])


def test_trust_widens_the_budget_up_to_its_limit_and_not_beyond():
    known = Knowledge()
    number = known.origins.number("a")
    r = known.memory.reputation
    assert limit_of(LIMITS, r, number) == LIMITS.newcomer_documents
    r.evidence[number, 0] = 5
    assert LIMITS.newcomer_documents < limit_of(LIMITS, r, number) < LIMITS.documents
    r.evidence[number, 0] = 1e6
    assert limit_of(LIMITS, r, number) == LIMITS.documents
    out, _, _ = run([record_of(i, "a", i) for i in range(20)], policy=Policy(limits=LIMITS), knowledge=known)
    assert 0 < len(out) <= LIMITS.documents


def test_a_hundred_new_names_share_one_budget():
    policy = Policy(limits=Limits(newcomers=0.1), vouched=("known",))
    records = [story(i, 30 + i % 30, origin="known" if i % 2 else f"new {i}") for i in range(400)]
    out, _, _ = run(records, policy=policy)
    assert sum(r["origin"] != "known" for r in out) <= 0.1 * len(out) + 20


def test_documents_from_one_template_share_one_budget():
    base = story(1, 80)["text"].split()
    alike = []
    for i in range(12):
        text = " ".join([*base[:-2], "ferry" if i % 2 else "flood", "river"]) + "."
        made = story(1, origin=f"o{i}") | {"id": f"{i:032x}", "text": text}
        alike.append(made)
    out, _, held = run([*alike, story(7), story(8)], policy=Policy(limits=Limits(lookalike_documents=4)))
    assert sum(r["origin"].startswith("o") and len(r["origin"]) > 1 for r in out) == 4
    assert Counter(why for _, why in held) == {"lookalike-budget": 8}


def test_a_gate_begins_all_counts_anew_and_a_collision_never_counts_too_little():
    known = Knowledge()
    run([record_of(i, "a", i) for i in range(3)], policy=Policy(limits=LIMITS), knowledge=known)
    ledger = known.ledger
    assert ledger.total.tolist() == [3, 3]
    assert (ledger.clusters.sum(axis=1) == 3).all()
    open_gate(ledger)
    assert not any(part.any() for part in ledger[:-1])
    full = new_ledger(CAPACITY)
    full.clusters[:] = 2
    assert ledger.ever[0] == 3
    family = known.ledger.lookalikes[0, :4].astype("u8")
    assert refusal(full, LIMITS, known.memory.reputation, 0, 12345, family, 1) == 4


def test_names_beyond_the_table_share_one_place(monkeypatch):
    from clet.priority import origins

    monkeypatch.setattr(origins, "OTHERS", 2)
    names = origins.Origins()
    assert [names.number(name) for name in ("a", "b", "c", "d", "a")] == [0, 1, 2, 2, 0]


def test_an_unproven_origin_passes_its_probation_once_over_all_gates():
    known, passed = Knowledge(), 0
    policy = Policy(limits=Limits(documents=100, newcomer_documents=4, probation_documents=10))
    for gate in range(6):
        records = [record_of(100 * gate + i, "a", 100 * gate + i) for i in range(9)]
        known.memory.reputation.evidence[:] = 0  # nothing speaks for it
        out, _, held = run(records, policy=policy, knowledge=known)
        passed += len(out)
        open_gate(known.ledger)
        assert len(out) <= 4
    assert passed == 10
    assert {why for _, why in held} == {"probation"}
    known.memory.reputation.vouched[known.origins.find("a")] = 1
    policy.vouched = ("a",)
    out, _, _ = run([record_of(900 + i, "a", 900 + i) for i in range(9)], policy=policy, knowledge=known)
    assert len(out) == 9
