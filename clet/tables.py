"""Tables for a terminal. Cells may come from outside: they can neither drive the terminal nor speak rich's markup."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from clet.log import plain_text


def show_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    right: Collection[str] = (),
    title: str | None = None,
    boxed: bool = True,
) -> None:
    """Print rows of cells (None: empty) to stdout; columns in `right` are right-aligned, long cells go on below."""
    from rich.box import HEAVY_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=None if title is None else Text(title),
        title_justify="left",
        box=HEAVY_HEAD if boxed else None,
        pad_edge=boxed,
    )
    for name in columns:
        table.add_column(Text(name), justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else plain_text(str(cell))) for cell in row))
    Console().print(table, highlight=False)
