"""Folders of the models that come with texgen."""

from __future__ import annotations

from pathlib import Path

BUNDLED = {"mini": Path(__file__).parent / "models" / "mini"}
"""Folder of each model by its name."""
