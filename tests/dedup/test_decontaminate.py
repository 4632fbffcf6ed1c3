"""Decontamination: 13 words of an evaluation set are enough, 12 are not, and no spelling of them helps."""

from __future__ import annotations

import gzip

import orjson
import pytest

from clet.batch import Batch
from clet.dedup.decontaminate import GRAM, SHORTEST, Evaluations
from clet.dedup.index import Index
from clet.dedup.repeats import Plan, drop_repeats
from clet.exits import InputError, UsageError

WORDS = [f"word{i}" for i in range(60)]


def contaminated(record, texts: list[str], evaluations: Evaluations, index: Index) -> dict[str, dict]:
    dropped = {}
    batch = Batch.from_records([record(text) for text in texts])
    plan = Plan(against=evaluations)

    def reject(batch: Batch, reasons: list[str]) -> None:
        dropped.update({batch.text_at(row): (reason, batch.fields(row)) for row, reason in enumerate(reasons)})

    for _ in drop_repeats([batch], index, plan, reject):
        pass
    return {text: fields["dedup"] for text, (why, fields) in dropped.items() if why == "contaminated"}


def test_thirteen_words_in_a_row_are_found_however_they_are_written(record, tmp_path):
    path = tmp_path / "eval.jsonl"
    path.write_bytes(orjson.dumps({"question": " ".join(WORDS[:40]), "choices": ["short one", {"deep": "x"}]}) + b"\n")
    index = Index()
    evaluations = Evaluations([str(path)], index.secret)
    hit = "before " + ", ".join(WORDS[5 : 5 + GRAM]).upper() + "! after"
    miss = "before " + " ".join(WORDS[5 : 5 + GRAM - 1]) + " after"
    apart = " ".join(WORDS[0:12]) + " gap " + " ".join(WORDS[12:24])
    found = contaminated(record, [hit, miss, apart, " ".join(WORDS)], evaluations, index)
    assert set(found) == {hit, " ".join(WORDS)}
    assert found[hit] == {"against": "eval.jsonl", "runs": 1}
    assert found[" ".join(WORDS)]["runs"] == 40 - GRAM + 1
    assert evaluations.num_records == [2]
    assert (evaluations.items, evaluations.short) == (1, 2)


def test_items_of_fewer_words_count_as_a_whole(record, tmp_path):
    path = tmp_path / "short.jsonl"
    items = [
        " ".join(WORDS[:SHORTEST]),
        " ".join(WORDS[20 : 20 + SHORTEST + 2]),
        " ".join(WORDS[40 : 40 + SHORTEST - 1]),
    ]
    path.write_bytes(b"".join(orjson.dumps({"text": item}) + b"\n" for item in items))
    index = Index()
    evaluations = Evaluations([str(path)], index.secret)
    texts = [f"a {item} b" for item in items] + [f"a {items[1][:-1]} b"]
    assert set(contaminated(record, texts, evaluations, index)) == {texts[0], texts[1]}
    assert evaluations.short == 1


def test_each_file_is_reported_and_plain_and_compressed_text_is_read(record, tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(WORDS[:20]))
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(" ".join(WORDS[30:50]).encode()))
    index = Index()
    evaluations = Evaluations([str(tmp_path / "a.txt"), str(tmp_path / "b.txt.gz")], index.secret)
    texts = [" ".join(WORDS[:15]), " ".join(WORDS[31:47]), " ".join(WORDS[20:30])]
    found = contaminated(record, texts, evaluations, index)
    assert [found[text]["against"] for text in texts[:2]] == ["a.txt", "b.txt.gz"]
    assert texts[2] not in found
    assert evaluations.num_records == [1, 1]


def test_files_that_say_nothing_are_refused(tmp_path):
    (tmp_path / "empty").write_text("")
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\n{oops}\n')
    with pytest.raises(InputError, match="no text"):
        Evaluations([str(tmp_path / "empty")], 1)
    with pytest.raises(InputError, match=r"bad\.jsonl:2: not JSON"):
        Evaluations([str(tmp_path / "bad.jsonl")], 1)
    with pytest.raises(UsageError):
        Evaluations([str(tmp_path / "missing")], 1)
    with pytest.raises(UsageError, match="standard input"):
        Evaluations(["-"], 1)
