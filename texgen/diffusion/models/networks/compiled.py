"""Parts of a network that torch compiles: those that repeat and hold no attention, so that its capture and early exit stay as they are."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from texgen.errors import ModelError

PARTS = frozenset({
    "ResnetBlock2D", "FeedForward", "AdaLayerNormZero", "AdaLayerNormZeroSingle", "AdaLayerNormContinuous", "SD35AdaLayerNormZeroX",
})  # fmt: skip
"""Classes of diffusers whose elementwise steps gain from being fused."""
BACKEND = "inductor"
VARIANTS = 1024
"""Of a part that torch may compile: one for each width, size of tile and batch, with and without gradient. More are an error: torch would
silently go on without."""


def compile_parts(network: nn.Module) -> None:
    """Have torch compile the parts of a network when they are first run; what is no whole graph is an error then."""
    for part in network.modules():
        if type(part).__name__ in PARTS:
            part.compile(fullgraph=True, backend=BACKEND)


@contextmanager
def compiling(wanted: bool) -> Iterator[None]:
    """Within, if it is wanted, parts are compiled or the run ends.

    Raises:
        ModelError: torch cannot compile here.
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
