"""Which licence a repository or a file of it is under, as an SPDX expression.

A licence text is known by phrases that only that text has; order matters: a text that contains another is tried
first. A file may say it of itself (`SPDX-License-Identifier:`, spdx.dev/ids), and a
folder LICENSES names its files by identifier (reuse.software). What matches nothing is None: an unknown licence is
not a guess. Whether a GNU licence holds "or later" is not in its text, so the plain identifier is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_LICENSE_BYTES = 256 << 10
MAX_LICENSE_FILES = 20  # of one folder
LICENSE_NAME = re.compile(r"(?:LICEN[CS]E|COPYING|UNLICENSE)(?:[._-][A-Za-z0-9.-]{1,20})?\Z", re.IGNORECASE)
_CHOICE_NAME = re.compile(r"LICEN[CS]E-[A-Za-z]", re.IGNORECASE)  # LICENSE-MIT beside LICENSE-APACHE: take either
_TAG = re.compile(r"SPDX-License-Identifier:[ \t]*([^\r\n]{1,200})")
_TAG_CHARS = 4096
_CLOSING = re.compile(r"(?:\*/|-->|\*\)|#}|%>|\"\"\"|'''|[\"',;])[^\w(]*\Z")
_WORD = re.compile(r"\s*([()]|[A-Za-z0-9][A-Za-z0-9.+:-]*)")

_PHRASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("SSPL-1.0", ("server side public license version 1",)),
    ("BUSL-1.1", ("business source license 1.1",)),
    ("Elastic-2.0", ("elastic license 2.0",)),
    # With the date of the title: each of these names its relatives further down.
    ("AGPL-3.0", ("gnu affero general public license version 3, 19 november 2007",)),
    ("LGPL-3.0", ("gnu lesser general public license version 3, 29 june 2007",)),
    ("LGPL-2.1", ("gnu lesser general public license version 2.1, february 1999",)),
    ("LGPL-2.0", ("gnu library general public license version 2, june 1991",)),
    ("GPL-3.0", ("gnu general public license version 3, 29 june 2007",)),
    ("GPL-2.0", ("gnu general public license version 2, june 1991",)),
    ("EUPL-1.2", ("european union public licence", "1.2")),
    ("Apache-2.0", ("apache license", "version 2.0")),
    ("MPL-2.0", ("mozilla public license", "version 2.0")),
    ("EPL-2.0", ("eclipse public license - v 2.0",)),
    ("BSL-1.0", ("boost software license - version 1.0",)),
    ("CC0-1.0", ("cc0 1.0 universal",)),
    ("CC-BY-NC-SA-4.0", ("attribution-noncommercial-sharealike 4.0 international",)),
    ("CC-BY-NC-ND-4.0", ("attribution-noncommercial-noderivatives 4.0 international",)),
    ("CC-BY-NC-4.0", ("attribution-noncommercial 4.0 international",)),
    ("CC-BY-ND-4.0", ("attribution-noderivatives 4.0 international",)),
    ("CC-BY-SA-4.0", ("attribution-sharealike 4.0 international",)),
    ("CC-BY-4.0", ("attribution 4.0 international",)),
    ("OFL-1.1", ("sil open font license version 1.1",)),
    ("Artistic-2.0", ("the artistic license 2.0",)),
    ("Unlicense", ("this is free and unencumbered software released into the public domain",)),
    ("ISC", ("permission to use, copy, modify, and", "with or without fee is hereby granted, provided that")),
    (
        "0BSD",
        ("permission to use, copy, modify, and/or distribute this software", "with or without fee is hereby granted"),
    ),
    ("MIT-0", ("permission is hereby granted, free of charge, to any person obtaining a copy", "mit no attribution")),
    ("MIT", ("permission is hereby granted, free of charge, to any person obtaining a copy", "without restriction")),
    ("PSF-2.0", ("python software foundation license version 2",)),
    ("Zlib", ("this software is provided 'as-is', without any express or implied warranty", "altered source versions")),
    ("BSD-4-Clause", ("redistribution and use in source and binary forms", "all advertising materials mentioning")),
    ("BSD-3-Clause", ("redistribution and use in source and binary forms", "neither the name")),
    ("BSD-2-Clause", ("redistribution and use in source and binary forms", "this list of conditions")),
)
_CONDITIONS = ("commons clause",)  # takes away what the text before or after it grants


def spdx_of(text: str) -> str | None:
    """SPDX identifier of a licence text, or None."""
    flat = " ".join(text.lower().split())
    if any(condition in flat for condition in _CONDITIONS):
        return None
    for name, phrases in _PHRASES:
        if all(phrase in flat for phrase in phrases):
            return name
    return None


def spdx_of_files(files: Iterable[tuple[str, str]]) -> str | None:
    """The licence that the licence files (name, text) of one folder amount to, or None.

    Several named LICENSE-SOMETHING are a choice, as is the custom of Rust; else the first that is known counts, the
    addition that makes a GPL a LGPL before it.
    """
    known = [(name, found) for name, text in files if (found := spdx_of(text))]
    choice = sorted({found for name, found in known if _CHOICE_NAME.match(name)})
    if len(choice) > 1:
        return " OR ".join(choice)
    lesser = [found for _, found in known if found.startswith("LGPL")]
    return (lesser or [found for _, found in known] or [None])[0]


def spdx_tag(text: str) -> str | None:
    """The SPDX expression that a file's head states for the file itself, or None."""
    if "SPDX-License-Identifier:" not in text[:_TAG_CHARS]:
        return None
    match = _TAG.search(text[:_TAG_CHARS])
    return spdx_expression(_CLOSING.sub("", match[1])) if match else None


def spdx_expression(text: str) -> str | None:
    """An SPDX licence expression (specification 2.3, annex D) in its plain form, or None where it is malformed."""
    words, place = [], 0
    text = text.strip()
    while place < len(text):
        match = _WORD.match(text, place)
        if match is None:
            return None
        words.append(match[1])
        place = match.end()
    depth, operand = 0, True  # whether an operand is to come
    for word in words:
        if operand:
            if word == "(":
                depth += 1
            elif word == ")" or word.upper() in ("AND", "OR", "WITH"):
                return None
            else:
                operand = False
        elif word == ")":
            depth -= 1
            if depth < 0:
                return None
        elif word.upper() in ("AND", "OR", "WITH"):
            operand = True
        else:
            return None
    if operand or depth:
        return None
    plain = " ".join(word.upper() if word.upper() in ("AND", "OR", "WITH") else word for word in words)
    return plain.replace("( ", "(").replace(" )", ")")
