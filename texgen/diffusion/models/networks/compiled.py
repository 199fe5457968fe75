"""Compilation of a network's repeated parts by torch. Attention is not compiled, since it is captured and may end the forward pass early."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from texgen.errors import ModelError

PARTS = frozenset({
    "ResnetBlock2D", "FeedForward", "AdaLayerNormZero", "AdaLayerNormZeroSingle", "AdaLayerNormContinuous", "SD35AdaLayerNormZeroX",
})  # fmt: skip
"""Classes of diffusers that gain from fusing their elementwise operations."""
BACKEND = "inductor"
VARIANTS = 1024
"""Variants of a part that torch may compile: one for each width, tile size and batch, with and without gradient. More raise an error, where
torch would silently run the part uncompiled."""


def compile_parts(network: nn.Module) -> None:
    """Let torch compile the parts of a network when they first run; a part with a graph break raises an error then."""
    for part in network.modules():
        if type(part).__name__ in PARTS:
            part.compile(fullgraph=True, backend=BACKEND)


@contextmanager
def compiling(wanted: bool) -> Iterator[None]:
    """Context in which parts are compiled, if wanted; failure to compile is an error.

    Raises:
        ModelError: torch cannot compile on this system.
    """
    if not wanted:
        yield
        return
    from torch._dynamo import config, exc

    try:
        with (
            config.patch(recompile_limit=VARIANTS, accumulated_recompile_limit=64 * VARIANTS, suppress_errors=False),
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", "The .grad attribute of a Tensor")  # torch's own access to it
            yield
    except (exc.TorchDynamoException, exc.FailOnRecompileLimitHit) as error:
        said = " ".join(str(error).split())[:160]
        raise ModelError(f"torch cannot compile the network here ({said}); leave --compile out.") from error
