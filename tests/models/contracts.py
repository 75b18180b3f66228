"""Small modules with a hand-written streaming form, one for each shape that a contract can take."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp.config import Streaming
from tests.models.tutorial_tcn import TutorialTcn, shake


class TwoCaches(nn.Module):
    """Two dilated convs and a skip that starts at the model input."""

    def __init__(self, channels: int = 8, kernel: int = 3) -> None:
        super().__init__()
        self.channels = channels
        self.left = (kernel - 1, 2 * (kernel - 1))
        self.first = nn.Conv1d(channels, channels, kernel)
        self.second = nn.Conv1d(channels, channels, kernel, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first(F.pad(x, (self.left[0], 0))))
        return self.second(F.pad(y, (self.left[1], 0))) + x

    def streaming_forward(self, x: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        before = torch.cat([near, x], dim=2)
        y = torch.cat([far, F.relu(self.first(before))], dim=2)
        return self.second(y) + x, before[:, :, -self.left[0] :], y[:, :, -self.left[1] :]

    def streaming_caches(self) -> dict[str, tuple[int, ...]]:
        return {"near": (self.channels, self.left[0]), "far": (self.channels, self.left[1])}


class TwoOutputs(nn.Module):
    """A shared trunk with two heads."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.channels = channels
        self.trunk = nn.Conv1d(channels, channels, 3)
        self.words = nn.Conv1d(channels, 5, 1)
        self.voice = nn.Conv1d(channels, 1, 1)

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = F.relu(self.trunk(x))
        return self.words(y), torch.sigmoid(self.voice(y))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._heads(F.pad(x, (2, 0)))

    def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        window = torch.cat([cache, x], dim=2)
        return (*self._heads(window), window[:, :, -2:])

    def streaming_caches(self) -> dict[str, tuple[int, ...]]:
        return {"cache": (self.channels, 2)}


class TwoInputs(nn.Module):
    """A microphone, a reference signal, and a speaker embedding that is the same for a whole recording."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.channels = channels
        self.mix = nn.Conv1d(2 * channels, channels, 3)
        self.scale = nn.Conv1d(channels, channels, 1)

    def forward(self, microphone: Tensor, reference: Tensor, speaker: Tensor) -> Tensor:
        both = F.pad(torch.cat([microphone, reference], dim=1), (2, 0))
        return F.relu(self.mix(both)) * torch.sigmoid(self.scale(speaker))

    def streaming_forward(
        self, microphone: Tensor, reference: Tensor, speaker: Tensor, cache: Tensor
    ) -> tuple[Tensor, Tensor]:
        both = torch.cat([cache, torch.cat([microphone, reference], dim=1)], dim=2)
        return F.relu(self.mix(both)) * torch.sigmoid(self.scale(speaker)), both[:, :, -2:]

    def streaming_caches(self) -> dict[str, tuple[int, ...]]:
        return {"cache": (2 * self.channels, 2)}


class Conv2dNet(nn.Module):
    """2-D convs over `[batch, channels, time, bins]`."""

    def __init__(self, channels: int = 4, bins: int = 8) -> None:
        super().__init__()
        self.shapes = ((1, 2, bins), (channels, 2, bins // 2))
        self.first = nn.Conv2d(1, channels, 3, stride=(1, 2))
        self.second = nn.Conv2d(channels, channels, 3)

    def _first(self, x: Tensor) -> Tensor:
        return F.relu(self.first(F.pad(x, (1, 1, 0, 0))))

    def _second(self, x: Tensor) -> Tensor:
        return self.second(F.pad(x, (1, 1, 0, 0)))

    def forward(self, x: Tensor) -> Tensor:
        y = self._first(F.pad(x, (0, 0, 2, 0)))
        return self._second(F.pad(y, (0, 0, 2, 0)))

    def streaming_forward(self, x: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        before = torch.cat([low, x], dim=2)
        y = torch.cat([high, self._first(before)], dim=2)
        return self._second(y), before[:, :, -2:], y[:, :, -2:]

    def streaming_caches(self) -> dict[str, tuple[int, ...]]:
        return {"low": self.shapes[0], "high": self.shapes[1]}


class Strided(nn.Module):
    """A conv of kernel 4 that gives a frame for every two, then a causal conv at that pace."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.channels = channels
        self.down = nn.Conv1d(channels, channels, 4, stride=2)
        self.conv = nn.Conv1d(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        # An output frame waits for the last input frame of its pair, as the stream does.
        y = F.relu(self.down(F.pad(x, (2, x.shape[2] % 2))))
        return self.conv(F.pad(y, (2, 0)))

    def streaming_forward(self, x: Tensor, wide: Tensor, slow: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        before = torch.cat([wide, x], dim=2)
        y = torch.cat([slow, F.relu(self.down(before))], dim=2)
        return self.conv(y), before[:, :, -2:], y[:, :, -2:]

    def streaming_caches(self) -> dict[str, tuple[int, ...]]:
        return {"wide": (self.channels, 2), "slow": (self.channels, 2)}


class Valid(nn.Module):
    """A conv without padding: the offline output is two frames shorter, and the stream two frames late."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.channels = channels
        self.conv = nn.Conv1d(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)

    def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        window = torch.cat([cache, x], dim=2)
        return self.conv(window), window[:, :, -2:]

    def streaming_caches(self) -> dict[str, tuple[int, ...]]:
        return {"cache": (self.channels, 2)}


class Recurrent(nn.Module):
    """A GRU over `[batch, time, channels]` whose state is a cache."""

    def __init__(self, channels: int = 8, hidden: int = 12) -> None:
        super().__init__()
        self.hidden = hidden
        self.gru = nn.GRU(channels, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gru(x)[0])

    def streaming_forward(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        y, after = self.gru(x, hidden.unsqueeze(0))
        return self.head(y), after.squeeze(0)

    def streaming_caches(self) -> dict[str, tuple[int, ...]]:
        return {"hidden": (self.hidden,)}


class GatedCell(nn.Module):
    """A leaky memory `[batch, channels, 1]` written by hand, whose new value has a range of its own."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.channels = channels
        self.gate = nn.Conv1d(channels, channels, 1)
        self.value = nn.Conv1d(channels, channels, 1)
        self.head = nn.Conv1d(channels, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(x.shape[0], self.channels, 1)
        outputs = []
        for frame in range(x.shape[2]):
            output, state = self.streaming_forward(x[:, :, frame : frame + 1], state)
            outputs.append(output)
        return torch.cat(outputs, dim=2)

    def streaming_forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = torch.sigmoid(self.gate(x)) * state + 4 * torch.tanh(self.value(x))
        return self.head(torch.tanh(state)), state

    def streaming_caches(self) -> dict[str, tuple[int, ...]]:
        return {"state": (self.channels, 1)}


class Skip(nn.Module):
    """One residual block, whose input the skip shares with the cache."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.channels = channels
        self.conv = nn.Conv1d(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.conv(F.pad(x, (2, 0)))) + x

    def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        window = torch.cat([cache, x], dim=2)
        return F.silu(self.conv(window)) + x, window[:, :, -2:]

    def streaming_caches(self) -> dict[str, tuple[int, ...]]:
        return {"cache": (self.channels, 2)}


class SkipStages(nn.Module):
    """Two residual blocks as stages: the tensor between them has a conv, a skip and a cache as readers."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.low = Skip(channels)
        self.high = Skip(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.high(self.low(x))


class Stateless(nn.Module):
    """No cache at all: one layer per frame."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.layer = nn.Conv1d(channels, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.layer(x))

    def streaming_forward(self, x: Tensor) -> Tensor:
        return self.forward(x)


@dataclass(frozen=True)
class Case:
    """A model, how it is streamed, and what its recordings look like for a number of frames."""

    make: Callable[[], nn.Module]
    streaming: Streaming
    shapes: Callable[[int], dict[str, tuple[int, ...]]] = field(default=lambda n: {"x": (8, n)})

    def module(self, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        return shake(self.make(), seed)

    def recordings(self, *frames: int, seed: int = 1) -> list[Tensor | dict[str, Tensor]]:
        """A recording per number of frames; a bare tensor where there is one input."""
        generator = torch.Generator().manual_seed(seed)
        found: list[Tensor | dict[str, Tensor]] = []
        for count in frames:
            values = {name: torch.randn(shape, generator=generator) for name, shape in self.shapes(count).items()}
            found.append(values if len(values) > 1 else next(iter(values.values())))
        return found


CASES = {
    "tutorial": Case(lambda: TutorialTcn(8, 16), Streaming(window=3, stages=["stage0", "stage1", "stage2"])),
    "two_caches": Case(TwoCaches, Streaming(window=2)),
    "two_outputs": Case(TwoOutputs, Streaming()),
    "two_inputs": Case(
        TwoInputs, Streaming(window=4), lambda n: {"microphone": (8, n), "reference": (8, n), "speaker": (8, 1)}
    ),
    "conv2d": Case(Conv2dNet, Streaming(window=2), lambda n: {"x": (1, n, 8)}),
    "strided": Case(Strided, Streaming(window=4)),
    "valid": Case(Valid, Streaming(window=3)),
    "recurrent": Case(Recurrent, Streaming(window=2), lambda n: {"x": (n, 8)}),
    "gated_cell": Case(GatedCell, Streaming()),
    "skip_stages": Case(SkipStages, Streaming(window=2, stages=["low", "high"])),
    "stateless": Case(Stateless, Streaming(window=2)),
}
