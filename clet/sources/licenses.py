"""Which licence a licence file holds, by phrases that only that text has.

Order matters: a text that contains another (the LGPL quotes the GPL's name) is tried first. A text that matches none
is None: an unknown licence is not a guess.
"""

from __future__ import annotations

import re

MAX_LICENSE_BYTES = 256 << 10
LICENSE_NAME = re.compile(r"(?:LICEN[CS]E|COPYING|UNLICENSE)(?:[.-](?:md|txt|rst|mit|apache))?\Z", re.IGNORECASE)

_PHRASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("AGPL-3.0", ("gnu affero general public license", "version 3")),
    ("LGPL-3.0", ("gnu lesser general public license", "version 3, 29 june 2007")),
    ("LGPL-2.1", ("gnu lesser general public license", "version 2.1")),
    ("GPL-3.0", ("gnu general public license", "version 3, 29 june 2007")),
    ("GPL-2.0", ("gnu general public license", "version 2, june 1991")),
    ("Apache-2.0", ("apache license", "version 2.0")),
    ("MPL-2.0", ("mozilla public license", "version 2.0")),
    ("EPL-2.0", ("eclipse public license - v 2.0",)),
    ("BSL-1.0", ("boost software license - version 1.0",)),
    ("CC0-1.0", ("cc0 1.0 universal",)),
    ("CC-BY-SA-4.0", ("attribution-sharealike 4.0 international",)),
    ("CC-BY-4.0", ("attribution 4.0 international",)),
    ("Unlicense", ("this is free and unencumbered software released into the public domain",)),
    ("ISC", ("permission to use, copy, modify, and/or distribute this software for any purpose with or without fee",)),
    ("ISC", ("permission to use, copy, modify, and distribute this software for any purpose with or without fee",)),
    ("MIT", ("permission is hereby granted, free of charge, to any person obtaining a copy", "without restriction")),
    ("PSF-2.0", ("python software foundation license version 2",)),
    ("Zlib", ("this software is provided 'as-is', without any express or implied warranty", "altered source versions")),
    ("BSD-3-Clause", ("redistribution and use in source and binary forms", "neither the name")),
    ("BSD-2-Clause", ("redistribution and use in source and binary forms", "this list of conditions")),
)


def spdx_of(text: str) -> str | None:
    """SPDX identifier of a licence text, or None."""
    flat = " ".join(text.lower().split())
    for name, phrases in _PHRASES:
        if all(phrase in flat for phrase in phrases):
            return name
    return None
