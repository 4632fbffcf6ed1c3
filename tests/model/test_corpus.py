"""Operands of `init --corpus`: what is read, in which order, and what `clet init` makes of it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from clet.exits import InputError, UsageError
from clet.model import corpus as corpus_module
from clet.model.checkpoint import read_config
from clet.model.corpus import corpus_texts
from clet.record import make_record


def texts(*operands) -> list[str]:
    def bad(place, reason, line):
        raise AssertionError(f"{place}: {reason}")

    return list(corpus_texts([str(operand) for operand in operands], bad))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "docs"
    (root / "b" / ".git").mkdir(parents=True)
    (root / "b" / "one.py").write_text("x = 1\r\n")
    (root / "b" / ".git" / "hidden.txt").write_text("no")
    (root / "a.md").write_text("# A")
    (root / "z.bin").write_bytes(b"\x00\x01")
    (root / "latin.txt").write_bytes(b"caf\xe9")
    (root / "empty.txt").write_text("  \n")
    (root / "link.txt").symlink_to(root / "a.md")
    return root


def jsonl(path, *bodies) -> str:
    lines = [json.dumps(make_record(source="t", origin="o", text=body, fetched=None)) for body in bodies]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_folder_gives_its_texts_sorted_without_hidden_linked_or_binary_files(folder):
    assert texts(folder) == ["# A", "caf\ufffd", "x = 1"]


def test_streams_and_texts_mix_in_the_order_given(folder, tmp_path):
    stream = jsonl(tmp_path / "records.jsonl", "first", "second")
    assert texts(folder / "a.md", stream, folder / "b" / "one.py") == ["# A", "first", "second", "x = 1"]


def test_missing_and_oversize_files_are_named(folder, monkeypatch):
    with pytest.raises(UsageError, match=r"nothing\.txt: No such file"):
        texts(folder / "nothing.txt")
    monkeypatch.setattr(corpus_module, "MAX_TEXT_BYTES", 2)
    with pytest.raises(InputError, match="clet ingest"):
        texts(folder / "a.md")


def init(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "clet", "init", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_init_makes_a_directory_from_files_and_streams_and_tells_of_bad_lines(folder, tmp_path):
    stream = jsonl(tmp_path / "records.jsonl", "the first story", "the second story")
    with open(stream, "a") as file:
        file.write("not json\n")
    result = init(tmp_path / "m", "--preset", "pico", "--vocab", 300, "--json", "--corpus", stream, folder)
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    assert result.returncode == 1 and result.stdout == ""
    assert "records.jsonl:3" in lines[0]["message"]
    assert (lines[-1]["event"], lines[-1]["in"]) == ("summary", 5)
    assert lines[-1]["parameters"] == read_config(tmp_path / "m").num_parameters()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say either --preset"),
        (["--preset", "pico"], "add --corpus FILE"),
        (["--preset", "huge", "--corpus", __file__], "choose one of pico"),
        (["--from", "x", "--moe"], "leave out --corpus, --vocab and --moe"),
    ],
)
def test_init_refuses_wrong_combinations_in_one_line(tmp_path, arguments, message):
    result = init(tmp_path / "m", *arguments)
    assert result.returncode == 2 and not (tmp_path / "m").exists()
    assert message in result.stderr and result.stderr.count("\n") == 1
