"""PDF: text in a child process with limits, and what a file of it becomes."""

import zlib

import pytest

from clet.sources import files
from clet.sources.adapter import SourceFailed
from clet.sources.text import pdf

pytest.importorskip("pypdfium2")


class Ended(Exception):
    pass


def make_pdf(pages, title=None, *, extra=b"", packed=False):
    """A PDF file of pages, each a list of lines in Helvetica."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    kids = []
    for lines in pages:
        shown = b" T* ".join(b"(%s) Tj" % line.encode("latin-1") for line in lines)
        stream = b"BT /F1 12 Tf 14 TL 72 760 Td " + shown + b" ET"
        filters = b""
        if packed:
            stream, filters = zlib.compress(stream), b" /Filter /FlateDecode"
        objects.append(b"<< /Length %d%s >>\nstream\n%s\nendstream" % (len(stream), filters, stream))
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % len(objects)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(kids), b" ".join(kids))
    info = b""
    if title:
        objects.append(b"<< /Title (%s) >>" % title.encode("latin-1"))
        info = b" /Info %d 0 R" % len(objects)
    body, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, each in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    start = len(body)
    body += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    body += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    body += b"trailer\n<< /Size %d /Root 1 0 R%s%s >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1,
        info,
        extra,
        start,
    )
    return bytes(body)


def read(path, given):
    return list(files.read(str(path), given))


def patiently():
    pass


def test_pages_in_order_with_the_title_of_the_file():
    made = make_pdf([["The first line.", "The second."], ["Another page."]], title="On Lines")
    assert pdf.pdf_text(made, patiently) == ("The first line.\nThe second.\nAnother page.", "On Lines")
    assert pdf.pdf_text(make_pdf([[]]), patiently) == ("", "")  # a scan


def test_a_pdf_in_a_folder_is_read_once_and_again_when_it_changes(tmp_path, context):
    path, cursor = tmp_path / "Paper.PDF", {}
    path.write_bytes(make_pdf([["A text."]], title="T"))
    given = context("file", cursor)
    (document,) = read(tmp_path, given)
    assert (document["text"], document["title"], document["meta"]) == ("A text.", "T", {"path": "Paper.PDF"})
    assert given.outlet.idled  # what was yielded is passed on before the child is waited for
    assert read(tmp_path, context("file", cursor)) == []
    path.write_bytes(make_pdf([["Another text."]]))
    (edited,) = read(tmp_path, context("file", cursor))
    assert (edited["title"], edited["meta"]["supersedes"]) == ("Paper.PDF", document["id"])


def test_running_heads_page_numbers_and_divided_words():
    words = ["alpha", "beta", "gamma", "delta"]
    pages = [
        f"Journal of Lines {n}\nText {word}.\nA well-\nknown long-term {word}-\nish.{n}\n{n}"
        for n, word in enumerate(words)
    ]
    pages = [page.replace(f"ish.{n}", f"ish {words[n]}.") for n, page in enumerate(pages)]
    pages.append("A well-known last page of Mid-\nWest.\n- 4 -")
    assert pdf.join_pages(pages).split("\n") == [
        "Journal of Lines 0",  # the first time it may be a title
        *("Text alpha.", "A well-known long-term alphaish alpha."),
        *("Text beta.", "A well-known long-term betaish beta."),
        *("Text gamma.", "A well-known long-term gammaish gamma."),
        *("Text delta.", "A well-known long-term deltaish delta."),
        "A well-known last page of Mid-West.",
    ]
    figures = [f"Text of {total}.\nTotal {total}" for total in (310, 97, 4120, 12)]
    assert pdf.join_pages(figures) == "\n".join(figures)
    preface = [f"Text {word}.\n{number}" for word, number in zip("abc", ("i", "ii", "iii"), strict=True)]
    assert pdf.join_pages(preface) == "Text a.\nText b.\nText c."
    assert pdf.join_pages(["one\ufffetwo", "7"]) == "onetwo\n7"
    assert pdf.join_pages([]) == ""


def test_a_file_that_is_no_pdf_costs_one_line_and_is_not_tried_again(tmp_path, context):
    good = make_pdf([["A text."]])
    for name, body in {"a.pdf": b"%PDF-1.4 junk", "b.pdf": good[:200], "c.pdf": good}.items():
        (tmp_path / name).write_bytes(body)
    cursor = {}
    given = context("file", cursor)
    assert [document["meta"]["path"] for document in read(tmp_path, given)] == ["c.pdf"]
    assert given.outlet.complaints == [f"{tmp_path}/{name}: is no PDF that can be read" for name in ("a.pdf", "b.pdf")]
    assert given.outlet.counts == {"bad-pdf": 2}
    given = context("file", cursor)
    assert read(tmp_path, given) == []
    assert given.outlet.counts == {"unchanged": 3}


def test_an_encrypted_file_needs_a_password():
    locked = b" /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >> /ID [<00> <00>]" % (
        b"41" * 32,
        b"42" * 32,
    )
    with pytest.raises(pdf.PdfFailed, match="needs a password"):
        pdf.pdf_text(make_pdf([["secret"]], extra=locked), patiently)


def test_a_child_that_takes_too_much_memory_time_or_patience_is_ended(monkeypatch):
    made = make_pdf([["A text."]])
    slow = "import sys, time; sys.stdin.buffer.read(); time.sleep(60)"
    for code, reason in (
        ("raise SystemExit(3)", "ended with status 3"),
        ("import os; os.kill(os.getpid(), 9)", "ended with signal 9"),
        ("print('[1]')", "what is no text"),
        (slow, "takes over 0.3 s"),
    ):
        monkeypatch.setattr(pdf, "MAX_WALL_S", 0.3 if code is slow else 60.0)
        monkeypatch.setattr(pdf, "COMMAND", [pdf.sys.executable, "-c", code])
        with pytest.raises(pdf.PdfFailed, match=reason):
            pdf.pdf_text(made, patiently)

    def interrupted():
        raise Ended

    monkeypatch.setattr(pdf, "COMMAND", [pdf.sys.executable, "-c", slow])
    with pytest.raises(Ended):
        pdf.pdf_text(made, interrupted)


def test_the_child_limits_its_memory_its_output_and_its_processor_time(monkeypatch):
    def reading(expression):
        """The child, with another way to read."""
        code = f"import resource; from clet.sources.text import pdf; pdf._read = lambda body: {expression}; pdf.main()"
        monkeypatch.setattr(pdf, "COMMAND", [pdf.sys.executable, "-P", "-c", code])
        return pdf.pdf_text(b"", patiently)

    limits = ("RLIMIT_CPU", "RLIMIT_NOFILE", "RLIMIT_CORE")
    told = " ".join(f"{{resource.getrlimit(resource.{name})[1]}}" for name in limits)
    assert reading(f"dict(text=f'{told}', title='')")[0] == "30 64 0"
    with pytest.raises(pdf.PdfFailed, match="takes over 2147483648 bytes of memory"):
        reading("dict(text='x' * (3 << 30), title='')")
    with pytest.raises(pdf.PdfFailed, match="too much for the PDF library"):
        reading("dict(text='x' * (65 << 20), title='')")


def test_without_the_library_it_is_named_and_the_file_is_read_once_it_is_there(tmp_path, context, monkeypatch):
    (tmp_path / "a.pdf").write_bytes(make_pdf([["A text."]]))
    cursor = {}
    with monkeypatch.context() as patch:
        patch.setattr(pdf.importlib.util, "find_spec", lambda name: None)
        given = context("file", cursor)
        assert read(tmp_path, given) == []
        assert given.outlet.complaints == [f"{tmp_path}/a.pdf: needs pypdfium2; pip install 'clet[pdf]'"]
    assert len(read(tmp_path, context("file", cursor))) == 1


def test_nothing_is_imported_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "pypdfium2.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert pdf.pdf_text(make_pdf([["A text."]]), patiently)[0] == "A text."


def test_stdin_may_be_a_pdf_and_a_bad_one_fails(context, monkeypatch):
    for body, expected in ((make_pdf([["A text."]]), ["A text."]), (b"%PDF-junk", None)):
        monkeypatch.setattr(files, "read_bounded", lambda stream, limit, body=body: body)
        if expected is None:
            with pytest.raises(SourceFailed, match="stdin: is no PDF"):
                read("-", context())
        else:
            assert [document["text"] for document in read("-", context())] == expected
