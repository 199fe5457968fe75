"""The verb `inspect`: size and format of a picture, and the recipe that made it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from texgen.errors import InputError
from texgen.files.header import Facts, facts_of, read_recipe
from texgen.runs.resume import JOB
from texgen.tasks.checks import verb


@dataclass(frozen=True)
class Inspected:
    """What `inspect` found.

    Attributes:
        name: Name of the file.
        facts: Size and format of the picture; None for a JSON file and for an unfinished run.
        recipe: The recipe that made it; None if the file holds none.
    """

    name: str
    facts: Facts | None
    recipe: dict[str, Any] | None

    @property
    def command(self) -> str:
        """The command that makes the picture again.

        Raises:
            InputError: The file holds no command: it is not from texgen, or was made in Python.
        """
        if self.recipe is None:
            raise InputError(f"{self.name}: holds no recipe; it is not from texgen, or was written with --no-metadata.")
        found = self.recipe.get("command")
        if not isinstance(found, str):
            raise InputError(f"{self.name}: was made in Python, so there is no command; see its recipe.")
        return found

    def as_json(self) -> dict[str, Any]:
        """Everything found, as JSON."""
        return {"name": self.name, "facts": None if self.facts is None else asdict(self.facts), "recipe": self.recipe}

    def report(self) -> Iterator[str]:
        """Everything found, as lines of text."""
        if self.facts is not None:
            yield f"{self.name}: {_told(self.facts)}"
        if self.recipe is None:
            yield f"{self.name}: holds no recipe"
            return
        if isinstance(self.recipe.get("command"), str):
            yield f"command: {self.recipe['command']}"
        yield "recipe:"
        for key, value in sorted(self.recipe.items()):
            yield f"  {key}: {json.dumps(value, sort_keys=True)}"


@verb(path="file")
def inspect(path: str | Path) -> Inspected:
    """Read the size and format of a picture from any program, and its recipe if texgen made it.

    Args:
        path: A picture, the JSON file beside it, or the folder `.OUT.texgen` of an unfinished run.

    Raises:
        InputError: The file does not exist, or is neither a picture nor a recipe.

    Example:
        >>> inspect("wall.png").recipe["seed"]  # doctest: +SKIP
        7
    """
    path = Path(path)
    if path.is_dir() and (path / JOB).is_file():
        return Inspected(path.name, None, json.loads((path / JOB).read_text()))
    recipe = read_recipe(path) if path.is_file() else None
    if path.suffix.lower() != ".json":
        return Inspected(path.name, facts_of(path), recipe)
    if recipe is None:
        raise InputError(f"{path}: no such file, or no recipe of texgen.")
    return Inspected(path.name, None, recipe)


def _told(facts: Facts) -> str:
    parts = [facts.format.upper(), f"{facts.width}x{facts.height} px", f"{','.join(facts.channels)} of {facts.dtype}"]
    parts += [facts.color_space or "no colour space", *(["ICC profile"] if facts.profile else [])]
    parts += [f"{facts.pictures} pages or levels"] if facts.pictures > 1 else []
    parts += [] if facts.dpi is None else [f"{facts.dpi:.4g} dpi"]
    return ", ".join(parts)
