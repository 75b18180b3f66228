"""An architecture as a stranger writes it, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from lightning_esp import Quantization, Streaming
from lightning_esp.errors import LightningEspError
from tests.models.proved import KEEP_RANGE

T = -1
LENGTHS = (44, 24)
CLIP = 44


@dataclass(frozen=True)
class Exports:
    """All proofs hold, and the integers are at least `decibels` above their difference to the float network."""

    decibels: int


@dataclass(frozen=True)
class Refused:
    """An error of this class, with the words of its reason and of its remedy."""

    error: type[LightningEspError]
    reason: str
    remedy: str


@dataclass(frozen=True)
class Stranger:
    """One row of the table.

    Args:
        name: what the paper or the toolkit calls it, and the variant.
        build: makes the module, with its own random weights.
        shape: of a recording without batch, `T` where time is.
        outcome: what an export does today.
        streaming: what the stranger asks for.
        precision: of the whole model.
        frames: unit of the recordings' lengths: 1 where any length is taken, else what the strides need.
        clip: whether it decides on whole clips, so that the recordings have one length.
        wrong: why the outcome is not the wanted one; the test of such a row fails where it comes true.
        slow: whether only `make test-full` exports it.
    """

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    outcome: Exports | Refused
    streaming: Streaming = field(default_factory=Streaming)
    precision: str = "int8"
    frames: int = 1
    clip: bool = False
    wrong: str = ""
    slow: bool = False

    def module(self) -> nn.Module:
        """Build it with fixed weights, and with batch norms that have seen data."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return settle(self.build().eval())

    def recordings(self) -> list[Tensor]:
        """Two recordings of different lengths, of clips eight of one; slow and fast at once."""
        lengths = [CLIP] * 8 if self.clip else LENGTHS
        return [recording(self.shape, frames * self.frames, seed) for seed, frames in enumerate(lengths)]

    @property
    def quantization(self) -> Quantization:
        """Keep the range: nothing here is trained."""
        return replace(KEEP_RANGE, precision=self.precision)  # type: ignore[arg-type]

    @property
    def layout(self) -> str:
        """The axes of the input, as the stranger knows them."""
        return f"[B, {', '.join('T' if size == T else str(size) for size in self.shape)}]"


def recording(shape: Sequence[int], frames: int, seed: int) -> Tensor:
    """Noise over a slow wave, in place of features."""
    generator = torch.Generator().manual_seed(seed)
    axis = shape.index(T)
    noise = torch.randn([frames if size == T else size for size in shape], generator=generator)
    wave = torch.sin(torch.arange(frames) * 0.3 + seed)
    return 0.5 * noise + wave.reshape([frames if i == axis else 1 for i in range(len(shape))])


def settle(module: nn.Module) -> nn.Module:
    """Give batch norms the statistics of some training."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_(0, 0.2)
            layer.running_var.uniform_(0.5, 1.5)
    return module
