"""Tables of a terminal show text from outside as text."""

from __future__ import annotations

from clet.tables import show_table


def test_cells_are_neither_markup_nor_escape_sequences(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    show_table(["origin", "n"], [["news [/b] desk", 1], ["[conceal]evil.example", 2], ["a\x1b[8mb\u202e", None]])
    shown = capsys.readouterr().out
    assert "news [/b] desk" in shown and "[conceal]evil.example" in shown
    assert "\x1b[8m" not in shown and "\\x1b[8mb\\u202e" in shown


def test_long_cells_go_on_below_whole(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    name = "feed_openai_" + "x" * 40
    show_table(["origin", "n"], [[name, 1]], boxed=False)
    assert name in "".join(line.split(" ")[0] for line in capsys.readouterr().out.splitlines())
