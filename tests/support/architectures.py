"""Random streaming architectures: a strategy that shrinks to the smallest one that fails, and once-wrong ones by seed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from hypothesis.vendor.pretty import RepresentationPrinter
from torch import Tensor, nn

from tests.models.pieces import Maker, Piece, chain, draw_width, randomise, takes
from tests.models.random_channels import CHANNELS
from tests.models.random_combinations import COMBINATIONS, dense, down_and_up, parallel, residual, strided_residual
from tests.models.random_endings import REFUSED, VALID
from tests.models.random_layers import SIMPLE, channel_norm, gated, linear, recurrent, upsampled
from tests.models.random_views import NORMS, VIEWS
from tests.models.random_wrappers import WRAPPERS
from tests.support.choices import Drawn, Seeded

# Twice, since they choose between several operators.
_SEVERAL = (linear, gated, upsampled, recurrent, channel_norm)
LAYERS: tuple[Maker, ...] = (*SIMPLE, *NORMS, *CHANNELS, *VIEWS, *COMBINATIONS, *_SEVERAL)
# In the order that the seeds of `SEEDS` were found with.
PLAIN: tuple[Maker, ...] = (
    *SIMPLE[:11], down_and_up, *SIMPLE[11:], residual, strided_residual, parallel, dense, *_SEVERAL,
)  # fmt: skip


@dataclass(frozen=True)
class Architecture:
    """A random model with an example of its input, whose time axis is `axis`; `seed` is that of its weights.

    `names` are the pieces that it is made of.
    """

    module: nn.Module
    example: Tensor
    expected_refusal: str
    names: tuple[str, ...]
    seed: int
    axis: int = 2

    def _repr_pretty_(self, printer: RepresentationPrinter, _cycle: bool) -> None:
        """Write what a failing test says: which pieces, of which sizes."""
        size = f"input {list(self.example.shape)}, weights {self.seed}"
        printer.text(f"<{' > '.join(self.names)}; {size}; {self.module}>")

    @property
    def frames(self) -> int:
        """Of the example."""
        return self.example.shape[self.axis]

    def recordings(self, count: int, frames: int, generator: torch.Generator) -> Tensor:
        """Noise of any length, as the model takes it."""
        shape = list(self.example.shape)
        shape[0], shape[self.axis] = count, frames
        return torch.randn(shape, generator=generator, dtype=torch.float64)


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    """Models of one to four pieces in any layout, with random weights; one in ten has no streaming form.

    Shrinks to few pieces, the simplest kinds, small kernels and widths, `[batch, channels, time]` and one output.
    """
    choices = Drawn(draw, LAYERS)
    channels, piece, refused = _body(choices)
    wrapper = choices.choice(WRAPPERS) if choices.chance(0.5) else None
    seed = choices.number() * 256 + choices.number()
    example = _example(choices, piece.module, channels, seed)
    names = tuple(choices.names)
    if wrapper is None:
        return Architecture(piece.module, example, refused, names, seed)
    wrapped = wrapper(choices, piece.module, example)
    return Architecture(
        randomise(wrapped.module, seed), wrapped.example, refused, (*names, wrapper.__name__), seed, wrapped.axis
    )


def build(seed: int) -> Architecture:
    """Build the architecture of a seed, of the pieces that came first, `[batch, channels, time]` with one output."""
    choices = Seeded(seed, PLAIN)
    channels, piece, refused = _body(choices)
    example = _example(choices, piece.module, channels, seed)
    return Architecture(piece.module, example, refused, tuple(choices.names), seed)


def _body(choices: Drawn | Seeded) -> tuple[int, Piece, str]:
    """Channels of the input, the pieces as one, and which of them has no streaming form."""
    channels = draw_width(choices)
    found, refused = [choices.sequence(channels, (1, 2, 3, 4))], ""
    if choices.chance(0.15) and found[0].stride <= 2 * found[0].up:
        for _ in range(choices.choice((1, 2))):
            found.append(choices.named(choices.choice(VALID), found[-1].channels))
    if choices.chance(0.1):
        maker = choices.choice(REFUSED)
        found.append(choices.named(maker, found[-1].channels))
        refused = maker.__name__
    return channels, found[0] if len(found) == 1 else chain(found), refused


def _example(choices: Drawn | Seeded, module: nn.Module, channels: int, seed: int) -> Tensor:
    """Noise that the model takes, once it has its weights."""
    generator = torch.Generator().manual_seed(seed)
    randomise(module, seed)
    # Branches that go down and up again may agree in length only for multiples of their strides, and many layers without
    # padding may need more frames.
    for frames in (choices.choice((24, 30, 37)), 24, 72, 216):
        example = torch.randn(1, channels, frames, generator=generator, dtype=torch.float64)
        if takes(module, example):
            return example
    raise AssertionError(f"forward runs on no example: {choices.names}")
