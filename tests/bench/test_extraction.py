"""The measurement of main text: known pages give known scores."""

import json

import pytest

from clet.bench import extraction
from clet.exits import UsageError

TEXT = "".join(
    f"<p>The council decided that bridge number {number} would be repaired in spring.</p>" for number in range(6)
)
PAGE = f"<html><body><nav><a href=/>Home page</a></nav><article>{TEXT}</article><footer>Imprint</footer></body></html>"


@pytest.fixture
def pages(tmp_path):
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "source.html").write_text(PAGE)
        (tmp_path / name / "expected.html").write_text(f"<div>{TEXT}</div>")
    return tmp_path


@pytest.fixture
def strings(tmp_path):
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "a.html").write_text(PAGE)
    entry = {"file": "a.html", "with": ["bridge  number 1", "bridge number 9"], "without": ["Home page", "number 2"]}
    (tmp_path / "evaldata.json").write_text(json.dumps({"http://a": entry}))
    return tmp_path


def test_words_are_compared_as_often_as_they_occur(pages):
    found = extraction.measure(pages, runs=2)
    assert (found["reference"], found["num_pages"]) == ("words", 3)
    clet, whole = found["extractors"]["clet"], found["extractors"]["whole page"]
    assert clet["precision"] == clet["recall"] == clet["f1"] == clet["micro_f1"] == 1.0
    words = extraction.words_of(extraction.shown(TEXT)).total()
    assert whole["recall"] == 1.0
    assert whole["precision"] == pytest.approx(words / (words + 3))
    assert whole["f1"] == pytest.approx(2 * words / (2 * words + 3))
    assert len(clet["seconds"]) == 2
    assert clet["failures"] == 0


def test_halves_are_by_name_and_hold_every_page_once(pages):
    cases = list(extraction.read_cases(pages))
    assert [case.half for case in cases] == [case.half for case in extraction.read_cases(pages)]
    found = extraction.measure(pages, runs=1)["extractors"]["clet"]
    assert {f"half_{case.half}" for case in cases} == {key for key in found if key.startswith("half")}


def test_strings_count_once_and_white_space_does_not(strings):
    found = extraction.measure(strings, runs=1)
    assert (found["reference"], found["num_pages"]) == ("strings", 1)
    clet = found["extractors"]["clet"]
    assert (clet["precision"], clet["recall"], clet["f1"], clet["accuracy"]) == (0.5, 0.5, 0.5, 0.5)


def test_an_extractor_that_fails_on_a_page_found_nothing_in_it(pages, monkeypatch):
    def fail(markup):
        if "council" in markup:
            raise RuntimeError

    monkeypatch.setattr(extraction, "_extractors", lambda: {"clet": fail})
    found = extraction.measure(pages, runs=2)["extractors"]["clet"]
    assert (found["failures"], found["f1"]) == (3, 0.0)


def test_an_expected_text_is_split_at_blocks_only():
    assert extraction.shown("<p>a<b>b</b></p><p>c<br>d</p><script>e</script>").split() == ["ab", "c", "d"]


def test_the_table_has_a_cell_for_every_column(pages):
    columns, rows, notes = extraction.table(extraction.measure(pages, runs=1))
    assert {len(row) for row in rows} == {len(columns)}
    assert rows[0][0] == "clet"
    assert "words" in notes[0]


@pytest.mark.parametrize("data", [None, "[]", "{", "{}", '{"u": {"file": "none.html", "with": [], "without": []}}'])
def test_a_folder_without_pages_is_refused_in_one_line(tmp_path, data):
    if data:
        (tmp_path / "evaldata.json").write_text(data)
    with pytest.raises(UsageError) as error:
        extraction.measure(tmp_path)
    assert "\n" not in str(error.value)
