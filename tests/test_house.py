"""The floors of the house: each imports only from floors below it, and no two modules import each other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = (
    ("tiling", "texgen.errors"),
    ("texgen.knobs",),
    ("texgen.files",),
    ("texgen.materials",),
    ("texgen.job",),
    ("texgen.runs",),
    ("texgen.exports",),
    ("texgen.previews",),
    ("texgen.model",),
    ("texgen.swatch.jit", "texgen.swatch.cpu_cores", "texgen.swatch.presets"),
    ("texgen.swatch.bank",),
    ("texgen.swatch.steering",),
    ("texgen.swatch.search", "texgen.swatch.starts"),
    ("texgen.swatch",),
    ("texgen.diffusion",),
    ("texgen.tasks",),
    ("texgen",),
    ("texgen.cli",),
    ("texgen.__main__",),
)
LOOSE = 10
"""Files that may lie in `texgen` itself."""


def modules() -> dict[str, Path]:
    """All modules by their names."""
    found = {}
    for path in sorted([*ROOT.glob("texgen/**/*.py"), *ROOT.glob("tiling/*.py")]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def floor(name: str) -> int:
    """Of a module: that of the longest name which it begins with."""
    known = {each: number for number, floor in enumerate(FLOORS) for each in floor}
    return known[max((each for each in known if f"{name}.".startswith(f"{each}.")), key=len)]


def imported(name: str) -> set[str]:
    """Our own modules that a module names in an import, wherever it stands and for whatever purpose."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {each if each in MODULES else str(node.module) for each in inner}
    return {each for each in found if each in MODULES}


@pytest.mark.parametrize("name", [name for name in MODULES if name != "texgen"])
def test_a_module_imports_from_its_own_floor_or_below(name):
    above = sorted(each for each in imported(name) if floor(each) > floor(name))
    assert not above, f"{name} reaches up to {', '.join(above)}"


def test_no_modules_import_each_other_in_a_circle():
    imports = {name: imported(name) - {name} for name in MODULES if name != "texgen"}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for each in imports.get(name, ()):
                visit(each, (*path, name))
            done.add(name)

    for name in imports:
        visit(name, ())


def test_only_the_models_know_diffusers():
    for name, path in MODULES.items():
        known = {
            node.module or "" for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)
        }
        foreign = {each for each in known if each.split(".")[0] in ("diffusers", "transformers")}
        assert not foreign or name.startswith("texgen.diffusion.models"), f"{name} imports {', '.join(foreign)}"


def test_few_files_lie_loose():
    assert len(list(ROOT.glob("texgen/*.py"))) <= LOOSE


def test_every_folder_says_what_it_holds():
    for path in ROOT.glob("texgen/**/__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"


LONGEST, REASON = 300, "# Over 300 lines because "
"""Lines of a module, and how the first line of a longer one begins."""


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_short_or_say_why_not(name):
    lines = MODULES[name].read_text().splitlines()
    assert len(lines) <= LONGEST or lines[0].removeprefix(REASON) not in ("", lines[0]), (
        f"{name} has {len(lines)} lines, allowed {LONGEST}; ask which two modules it is, or begin it with {REASON!r}"
    )


MOST_LINES, MOST_ARGUMENTS = 60, 12


@pytest.mark.parametrize("name", MODULES)
def test_functions_are_short_and_take_few_arguments(name):
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.FunctionDef):
            given = node.args
            count = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs)
            assert node.end_lineno - node.lineno < MOST_LINES, (
                f"{name}.{node.name} is {node.end_lineno - node.lineno + 1} lines long"
            )
            assert count <= MOST_ARGUMENTS, f"{name}.{node.name} takes {count} arguments; make a record of them"


def test_every_test_that_holds_a_promise_is_there():
    named = re.findall(r"`(test_\w+\.py)::(\w+)`", (ROOT / "docs/reliability.md").read_text())
    assert len(named) > 70
    for file in sorted({file for file, _ in named}):
        tree = ast.parse((ROOT / "tests" / file).read_text())
        there = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        gone = {name for of, name in named if of == file} - there
        assert not gone, f"docs/reliability.md names {', '.join(gone)}, which are not in {file}"


def test_every_promise_has_a_test():
    page = (ROOT / "docs/reliability.md").read_text()
    table = page[page.index("| promise |") :].partition("\n\n")[0].splitlines()[2:]
    assert len(table) > 20 and all("::test_" in row for row in table)
