"""Licences: told by the text that only they have; what is unknown is null."""

import pytest

from clet.sources.licenses import spdx_expression, spdx_of, spdx_of_files, spdx_tag

MIT = (
    "Permission is hereby granted, free of charge, to any person obtaining a copy of this, to deal without restriction"
)
APACHE = "Apache License\n   Version 2.0, January 2004"
GPL3 = (
    "GNU GENERAL PUBLIC LICENSE\n Version 3, 29 June 2007\n ... version 3 of the GNU Affero General Public License"
    " ... use the GNU Lesser General Public License instead"
)
LGPL3 = "GNU LESSER GENERAL PUBLIC LICENSE\n Version 3, 29 June 2007 ... GNU General Public License"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (MIT, "MIT"),
        (APACHE, "Apache-2.0"),
        (GPL3, "GPL-3.0"),
        (LGPL3, "LGPL-3.0"),
        ("GNU AFFERO GENERAL PUBLIC LICENSE\n Version 3, 19 November 2007", "AGPL-3.0"),
        ("Business Source License 1.1 ... Change License: Apache License, Version 2.0", "BUSL-1.1"),
        ("Creative Commons Attribution-NonCommercial 4.0 International", "CC-BY-NC-4.0"),
        (f'{APACHE}\n\n"Commons Clause" License Condition v1.0', None),
        ("All rights reserved.", None),
        ("", None),
    ],
)
def test_a_text_that_names_its_relatives_is_not_taken_for_them(text, name):
    assert spdx_of(text) == name


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ([("LICENSE-APACHE", APACHE), ("LICENSE-MIT", MIT)], "Apache-2.0 OR MIT"),
        (
            [("COPYING", GPL3), ("COPYING.LESSER", "GNU LESSER GENERAL PUBLIC LICENSE Version 3, 29 June 2007")],
            "LGPL-3.0",
        ),
        ([("COPYING", "unknown"), ("LICENSE", MIT)], "MIT"),
        ([("LICENSE", MIT), ("LICENSE.md", MIT)], "MIT"),
        ([], None),
    ],
)
def test_the_licence_files_of_a_folder_amount_to_one_expression(files, name):
    assert spdx_of_files(files) == name


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ("# SPDX-License-Identifier: MIT\n", "MIT"),
        ("/* SPDX-License-Identifier: GPL-2.0-or-later */", "GPL-2.0-or-later"),
        ("<!-- SPDX-License-Identifier: CC-BY-4.0 -->", "CC-BY-4.0"),
        ("{# SPDX-License-Identifier: MIT #}", "MIT"),
        ('"""SPDX-License-Identifier: MIT"""', "MIT"),
        ('"SPDX-License-Identifier: MIT",', "MIT"),
        (
            "// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) or BSD-2-Clause\n",
            "(GPL-2.0 WITH Linux-syscall-note) OR BSD-2-Clause",
        ),
        ("# SPDX-License-Identifier: MIT AND\n", None),
        ("# SPDX-License-Identifier: <identifier>\n", None),
        ("# SPDX-License-Identifier: all yours, friend\n", None),
        ("x" * 5000 + "SPDX-License-Identifier: MIT", None),
        ("MIT", None),
    ],
)
def test_a_files_own_statement_is_read_from_its_head(head, name):
    assert spdx_tag(head) == name


@pytest.mark.parametrize(
    "text", ["", "()", "MIT Apache-2.0", "MIT OR OR ISC", "(MIT", "MIT)", "AND", "MIT; DROP", "\u00e9"]
)
def test_malformed_expressions_are_none(text):
    assert spdx_expression(text) is None
