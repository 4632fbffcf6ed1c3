"""The house: imports run downwards only, and stages meet in the data, not in code."""

import ast
from pathlib import Path

import clet

ROOT = Path(clet.__file__).parent
STAGES = {"sources", "dedup", "priority", "shards", "model", "train", "sync", "serve", "evaluate", "bench"}
ALLOWED = {  # stage: other stages it may use
    "train": {"model", "shards"},
    "serve": {"model"},
    "evaluate": {"model", "shards"},
    "sync": {"model"},
    # what is measured from inside: texts found, windows written and read, poison let through, what order teaches
    "bench": {"sources", "dedup", "shards", "priority", "model", "train", "evaluate"},
}
FACE = {"cli", "commands", "__main__"}


def imports_of(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            if node.module == "clet":
                yield from (f"clet.{alias.name}" for alias in node.names)


def rooms():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield path, parts[0], {name.split(".")[1] for name in imports_of(path) if name and name.startswith("clet.")}


def test_stages_do_not_import_each_other():
    wrong = [
        f"{path.relative_to(ROOT)} imports {other}"
        for path, room, used in rooms()
        if room in STAGES
        for other in (used & STAGES) - {room} - ALLOWED.get(room, set())
    ]
    assert wrong == []


def test_nothing_below_imports_the_face():
    wrong = [
        f"{path.relative_to(ROOT)} imports {sorted(used & FACE)}"
        for path, room, used in rooms()
        if room not in FACE and used & FACE
    ]
    assert wrong == []


def test_the_core_imports_no_stage():
    wrong = [
        f"{path.relative_to(ROOT)} imports {sorted(used & STAGES)}"
        for path, room, used in rooms()
        if room not in STAGES | FACE and used & STAGES
    ]
    assert wrong == []


def test_commands_import_heavy_things_inside_functions_only():
    heavy = {"torch", "numpy", "rich", "tokenizers", "numba", "httpx", "lxml", "uvicorn", "starlette", "transformers"}
    for path in sorted((ROOT / "commands").glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                assert not {(name or "").split(".")[0] for name in names} & heavy, path


def test_files_stay_small_and_say_what_they_are():
    for path in sorted(ROOT.rglob("*.py")):
        text = path.read_text()
        assert text.count("\n") <= 500, f"{path}: over 500 lines"
        assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{path}: no module docstring"


def test_kernels_are_where_a_change_of_them_is_noticed():
    from clet.kernels import KERNEL_ROOMS

    home = ROOT
    rooms = {path.parent for path in home.rglob("*.py") if "from clet.kernels import" in path.read_text()}
    assert rooms and rooms <= {home, *(home / room for room in KERNEL_ROOMS)}
