"""What is promised of equal bytes on a GPU, as far as a machine without one can tell."""

from __future__ import annotations

import pytest
import torch
from test_transfer import picture

import texgen
from texgen.diffusion.sampling import loop, tile_pass
from texgen.diffusion.sampling.determinism import deterministic


@pytest.mark.parametrize("before", ["default", "warn", "error"])
def test_the_order_is_fixed_within_and_the_programs_setting_comes_back(before):
    torch.set_deterministic_debug_mode(before)
    mode = torch.get_deterministic_debug_mode()
    try:
        with pytest.raises(KeyError), deterministic(torch.device("cuda")):
            assert torch.get_deterministic_debug_mode() == 2, "what has no order is an error"
            raise KeyError
        assert torch.get_deterministic_debug_mode() == mode
        for device, wanted in (("cuda", False), ("cpu", True)):
            with deterministic(torch.device(device), wanted):
                assert torch.get_deterministic_debug_mode() == mode
    finally:
        torch.set_deterministic_debug_mode("default")


@pytest.mark.parametrize("task", [{"loop": "sample", "iterations": 1}, {"loop": "optimize"}])
def test_every_step_and_every_reading_asks_for_what_the_user_wants(sd, monkeypatch, task):
    asked = []

    def noted(device, wanted=True):
        asked.append(wanted)
        return deterministic(device, wanted)

    for module in (loop, tile_pass):
        monkeypatch.setattr(module, "deterministic", noted)
    options = {"model": sd, "start": "noise", "steps": 1, "seed": 1, "tileable": "none", **task}
    made = [texgen.expand(picture(1), 128, deterministic=each, **options) for each in (True, False)]
    assert asked == [True, True, False, False]
    assert [each.recipe["deterministic"] for each in made] == [True, False]
    assert torch.equal(made[0].latents, made[1].latents), "a CPU always sums in one order"
