"""Parquet: columns by name, row groups in small batches, the cursor over rows, and files made to hurt."""

import json
import random
from datetime import UTC, date, datetime

import pytest

from clet.record import raw_hash, record_id
from clet.sources import parquet
from clet.sources.adapter import SourceFailed

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def write(tmp_path):
    """`write(columns, **settings)`: the path of a Parquet file."""

    def make(columns, name="a.parquet", **settings):
        path = tmp_path / name
        pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), path, **settings)
        return path

    return make


def read(path, given):
    return list(parquet.read(str(path), given))


def texts(documents):
    return [document["text"] for document in documents]


def test_columns_are_taken_by_name_and_others_are_not_read(write, context):
    path = write(
        {
            "id": ["x:1", "x:2"],
            "content": ["A text.\r\n", "Other."],
            "url": ["https://n.example/", None],
            "title": ["T", None],
            "date": [datetime(2019, 1, 4, 10), None],
            "source": ["n.example", None],
            "license": ["CC0-1.0", None],
            "language": ["en", None],
            "embedding": [[0.5] * 9, None],
        }
    )
    one, two = read(path, context("parquet"))
    assert (one["id"], one["text"], one["source"], one["origin"]) == (
        record_id("A text."),
        "A text.",
        "parquet",
        "n.example",
    )
    assert (one["url"], one["title"], one["lang"], one["license"]) == ("https://n.example/", "T", "en", "CC0-1.0")
    assert (one["published"], one["meta"], one["raw"]) == (
        "2019-01-04T10:00:00Z",
        {"id": "x:1"},
        raw_hash(b"A text.\r\n"),
    )
    assert (two["origin"], two["published"], two["meta"]) == ("a", None, {"id": "x:2"})


@pytest.mark.parametrize(
    "column",
    [
        pa.array([datetime(2020, 5, 6, 7, tzinfo=UTC)], pa.timestamp("us", "UTC")),
        pa.array([datetime(2020, 5, 6, 7)], pa.timestamp("ns")),
        pa.array([1588748400000], pa.int64()).cast(pa.timestamp("ms", "Not/A_Zone")),
        pa.array([1588748400], pa.int64()),
        pa.array([1588748400000], pa.int64()),
        pa.array(["2020-05-06T09:00:00+02:00"]),
        pa.array(["Wed, 06 May 2020 07:00:00 GMT"]),
        pa.array(["2020-05-06T07:00:00Z"]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_dates_of_every_type(write, context, column):
    (document,) = read(write({"text": ["t"], "timestamp": column}), context())
    assert document["published"] == "2020-05-06T07:00:00Z"


def test_days_and_times_out_of_range(write, context):
    days = write({"text": ["t", "u"], "date": [date(2020, 5, 6), None]}, "days.parquet")
    assert [document["published"] for document in read(days, context())] == ["2020-05-06T00:00:00Z", None]
    far = write({"text": ["t"], "date": pa.array([1 << 62], pa.int64()).cast(pa.timestamp("us"))}, "far.parquet")
    assert [document["published"] for document in read(far, context())] == [None]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())])
@pytest.mark.parametrize("dictionary", [True, False])
def test_strings_of_every_type(write, context, kind, dictionary):
    path = write({"text": pa.array(["one", "zwei", "one"]).cast(kind)}, use_dictionary=dictionary)
    assert texts(read(path, context())) == ["one", "zwei", "one"]


def test_text_that_is_no_utf8_is_read_and_rows_without_text_are_reported(write, context):
    values = pa.array(["Fu\u00df".encode("cp1252"), None, bytes(range(256)), b"good"])
    strings = pa.Array.from_buffers(pa.string(), 4, values.buffers())
    given = context()
    assert texts(read(write({"text": strings}), given)) == ["Fu\u00df", "good"]
    assert [complaint[:14] for complaint in given.outlet.complaints] == ["row 2: no text", "row 3: no text"]
    assert given.outlet.counts == {"no-text": 2}


def test_many_bad_rows_are_summed_up_after_twenty_lines(write, context):
    given = context()
    assert read(write({"text": pa.array([None] * 50, pa.string())}), given) == []
    assert (len(given.outlet.complaints), given.outlet.complaints[-1]) == (21, "and 30 more: no-text")


@pytest.mark.parametrize("rows", [1, 3, 1000], ids=lambda rows: f"{rows} a row group")
def test_the_cursor_holds_at_every_row_it_gave(write, context, rows, monkeypatch):
    monkeypatch.setattr(parquet, "_MAX_BATCH_ROWS", 2)
    path = write({"text": ["0", "1", None, "3", "4", "5", "6"]}, row_group_size=rows)
    for taken in range(7):
        cursor = {}
        documents = parquet.read(str(path), context(cursor=cursor))
        first = [next(documents)["text"] for _ in range(taken)]
        known = json.loads(json.dumps(cursor))  # the process dies here: nothing else is remembered
        assert first + texts(parquet.read(str(path), context(cursor=known))) == ["0", "1", "3", "4", "5", "6"]


def test_an_untouched_file_is_not_opened_and_a_changed_one_starts_over(write, context, monkeypatch):
    cursor = {}
    path = write({"text": ["1", "2"]})
    assert len(read(path, context(cursor=cursor))) == 2
    write({"text": ["1", "2", "3"]})
    assert texts(read(path, context(cursor=cursor))) == ["1", "2", "3"]
    monkeypatch.setattr(parquet, "open_regular", None)
    assert read(path, context(cursor=cursor)) == []


def test_each_file_of_a_folder_is_a_source_of_its_own(write, tmp_path, context):
    for name in ("a.parquet", "b.pq", "c.txt"):
        write({"text": [name]}, name)
    given = context()
    assert read(tmp_path, given) == []
    assert given.outlet.included == [f"{tmp_path}/a.parquet", f"{tmp_path}/b.pq"]


def test_a_file_without_text_names_its_columns(write, context):
    for columns in ({"body": ["x"], "n": [1]}, {"text": [1], "n": [1]}):
        with pytest.raises(SourceFailed, match=r"no column text or content of strings; its columns are (body|text), n"):
            read(write(columns), context())


def test_damaged_files_fail_in_one_line_after_what_could_be_read(write, context, tmp_path):
    whole = write({"text": [f"text {n} " * 20 for n in range(200)]}, row_group_size=50).read_bytes()
    path, dice = tmp_path / "x.parquet", random.Random(1)
    bodies = [b"", b"PAR1", b"junk" * 100, whole[:-1], whole[: len(whole) // 2], whole[:-8] + b"\xff" * 4 + b"PAR1"]
    for _ in range(60):
        body = bytearray(whole)
        body[dice.randrange(len(body))] ^= 1 << dice.randrange(8)
        bodies.append(bytes(body))
    failures = 0
    for body in bodies:
        path.write_bytes(body)
        try:
            read(path, context())
        except SourceFailed as failure:
            assert "\n" not in str(failure) and len(str(failure)) < 300
            failures += 1
    assert failures > 10


def test_one_value_repeated_a_million_times_is_not_unfolded(write, context):
    """A dictionary page makes 5,000 rows of 9 MB each out of 2 KB."""
    large = pa.array(["x" * (9 << 20)])
    path = write({"text": pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), large)}, compression="zstd")
    before = pa.total_allocated_bytes()
    given = context()
    assert read(path, given) == []
    assert given.outlet.counts == {"no-text": 5000}
    assert pa.total_allocated_bytes() - before < 64 << 20


def test_a_file_that_inflates_beyond_measure_fails(write, context, monkeypatch):
    monkeypatch.setattr(parquet, "_FREE_BYTES", 1 << 20)
    path = write({"text": ["x" * 100_000] * 100}, compression="zstd")
    with pytest.raises(SourceFailed, match="1000-fold"):
        read(path, context())


def test_without_the_library_it_is_named(write, context, monkeypatch):
    path = write({"text": ["t"]})
    monkeypatch.setattr(parquet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SourceFailed, match=r"needs pyarrow; pip install 'clet\[parquet\]'"):
        read(path, context())


def test_stdin_is_refused(context):
    with pytest.raises(SourceFailed, match="cannot be read from stdin"):
        read("-", context())
