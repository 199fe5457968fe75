"""Imported by the process that others are forked from: all modules, and the compiled search by a first use."""

import numpy as np

import texgen
import texgen.cli.main
import texgen.cli.run_verb
import texgen.diffusion.model
import texgen.diffusion.models.loading.load
import texgen.diffusion.models.loading.single_file

texgen.expand(np.random.default_rng(0).random((64, 64, 3), np.float32), 64, preset="draft")
