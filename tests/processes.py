"""Where the installed command is, and the environment it is tested in."""

from __future__ import annotations

import os
import sys
from pathlib import Path

CLET = Path(sys.executable).with_name("clet")


def clean_environment() -> dict[str, str]:
    """This environment without settings that a developer may have made for clet."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CLET_")} | {
        "OMP_NUM_THREADS": "1",
    }
