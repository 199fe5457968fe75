"""The table of knobs: one row an option, from which flags, checks and the page of options are made."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

import click
import pytest
from test_cli import run

from docs.tables import options
from texgen.cli.flags import GROUPS, Option, Verb
from texgen.cli.knobs import Outputs
from texgen.cli.verbs import OWN, VERBS, fill, material, tile
from texgen.diffusion import presets
from texgen.diffusion.knobs import PUBLISHED
from texgen.diffusion.knobs import Knobs as DiffusionKnobs
from texgen.errors import OptionError
from texgen.exports.knobs import Knobs as ExportKnobs
from texgen.knobs import rows
from texgen.materials.knobs import Knobs as MaterialKnobs
from texgen.previews.knobs import Knobs as PreviewKnobs
from texgen.swatch.knobs import Knobs as SwatchKnobs
from texgen.swatch.presets import PRESETS
from texgen.tasks.knobs import Common, WangKnobs
from texgen.tasks.options import Options

ALL = [row for group in (*GROUPS.values(), Outputs) for row in rows(group)]


def test_every_keyword_is_a_row_and_every_row_a_keyword():
    named = {row.name for group in GROUPS.values() for row in rows(group)}
    assert set(Options.__annotations__) == named
    assert all(f"    {name}: " in str(Options.__doc__) for name in named)


def test_a_keyword_is_of_the_type_that_its_row_has():
    """As both are written: `Tileable`, `int | None`, ..."""
    ours = {name: str(hint.__forward_arg__) for name, hint in Options.__annotations__.items()}
    assert ours == {each.name: str(each.type) for group in GROUPS.values() for each in fields(group)}


def test_no_row_stands_twice_but_the_start_which_every_model_has():
    names = [row.name for row in ALL]
    assert {name for name in names if names.count(name) > 1} == {"start"}


@pytest.mark.parametrize("command", [each for each in VERBS if isinstance(each, Verb)], ids=lambda each: each.name)
def test_every_flag_of_all_verbs_is_made_from_its_row(command):
    made = {each.name: each for each in command.params if isinstance(each, Option)}
    more = {row.name for row in rows(OWN[command.name])} if command.name in OWN else set()
    assert made.keys() == {row.name for row in ALL if row.knob.flag is not None} | more
    own = {each.name for each in command.params} - made.keys()
    assert not own & {row.name for row in ALL}, "no row is written by hand"


def test_the_flags_of_the_material_verb_are_its_table_and_where_it_writes():
    made = {each.name for each in material.params if isinstance(each, Option)}
    assert made == {row.name for row in rows(MaterialKnobs)} | {"out", "overwrite", "no_metadata"}


def test_the_choices_are_those_of_the_types():
    assert {*PRESETS, PUBLISHED} == set(presets.PRESETS) == set(next(r for r in ALL if r.name == "preset").knob.choices)
    by_name = {row.name: row.knob.choices for row in rows(DiffusionKnobs)}
    hints = get_type_hints(presets.Preset)
    for name in ("loop", "schedule", "window", "detail"):
        assert set(by_name[name]) == set(get_args(hints[name])), name


def test_values_out_of_range_are_refused_with_what_is_allowed():
    refused = {"range": 0, "choice": 0}
    for group in (*GROUPS.values(), *OWN.values(), MaterialKnobs, PreviewKnobs, ExportKnobs):
        for row in rows(group):
            knob = row.knob
            if knob.low is not None and knob.high is not None:
                refused["range"] += 1
                group(**{row.name: knob.low})
                for value in (knob.low - 1, knob.high * 2 + 1):
                    with pytest.raises(OptionError, match=f"{row.name}=.* must be from"):
                        group(**{row.name: value})
            elif knob.choices:
                refused["choice"] += 1
                with pytest.raises(OptionError, match=f"{row.name}=.*(choose one of| or )"):
                    group(**{row.name: "nonsense"})
    assert refused["range"] > 5 and refused["choice"] > 5, refused


def test_the_defaults_pass_their_own_check():
    for group in (
        Common,
        SwatchKnobs,
        DiffusionKnobs,
        MaterialKnobs,
        PreviewKnobs,
        ExportKnobs,
        WangKnobs,
        *OWN.values(),
        Outputs,
    ):
        group()


@pytest.mark.parametrize("command", VERBS, ids=lambda each: each.name)
def test_the_short_help_is_shorter_and_the_long_one_shows_every_flag(command, capsys):
    texts = []
    for flag in ("--help", "--help-all") if isinstance(command, Verb) else ("--help",):
        code, out, _ = run(capsys, command.name, flag)
        assert code == 0
        texts.append(out)
    assert not isinstance(command, Verb) or len(texts[0]) < 0.7 * len(texts[1])
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert options and all(option.opts[-1] in texts[-1] for option in options)
    assert f"texgen {command.name} " in texts[0], "an example"
    assert ("--size " in texts[0]) == (isinstance(command, Verb) and command not in (fill, tile))


def test_the_page_of_options_is_that_of_the_table():
    written = (Path(__file__).parent.parent / "docs" / "options.md").read_text()
    assert written == options(), "run: python docs/tables.py"
