"""The tutorial's three-part TCN: a depthwise dilated conv with squeeze-excitation, a pointwise part, a second conv part."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def shake(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every bias, norm weight and running statistic a value that matters, so that nothing passes by being zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if not value.is_floating_point():
            continue
        noise = torch.randn(value.shape, generator=generator).to(value)
        with torch.no_grad():
            if name.endswith("running_var"):
                value.copy_(0.5 + noise.abs())
            elif value.ndim == 1:
                value.add_(0.3 * noise)
    return module.eval()


class SqueezeExcite(nn.Module):
    """Per frame: channels are gated by themselves."""

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.down = nn.Conv1d(channels, reduced, 1)
        self.up = nn.Conv1d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.up(torch.relu(self.down(x))))


class Depthwise(nn.Module):
    """First part: expand, depthwise dilated conv, SiLU, squeeze-excitation, project, residual."""

    def __init__(self, channels: int = 64, expanded: int = 128, kernel: int = 3, dilation: int = 2) -> None:
        super().__init__()
        self.padding = (kernel - 1) * dilation
        self.expanded = expanded
        self.prev_conv = nn.Conv1d(channels, channels, 1)
        self.expand = nn.Sequential(nn.Conv1d(channels, expanded, 1), nn.BatchNorm1d(expanded), nn.SiLU())
        self.conv = nn.Sequential(
            nn.Conv1d(expanded, expanded, kernel, dilation=dilation, groups=expanded),
            nn.BatchNorm1d(expanded),
            nn.SiLU(),
        )
        self.gate = SqueezeExcite(expanded, 32)
        self.project = nn.Conv1d(expanded, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.prev_conv(x)
        out = self.conv(F.pad(self.expand(x), (self.padding, 0)))
        return self.project(out * self.gate(out)) + x

    def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        x = self.prev_conv(x)
        window = torch.cat([cache, self.expand(x)], dim=2)
        out = self.conv(window)
        return self.project(out * self.gate(out)) + x, window[:, :, -self.padding :]

    def streaming_caches(self) -> dict[str, tuple[int, ...]]:
        return {"cache": (self.expanded, self.padding)}


class Pointwise(nn.Module):
    """Second part: no state."""

    def __init__(self, channels: int = 64, expanded: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(channels, expanded, 1), nn.ReLU(), nn.Conv1d(expanded, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + x

    def streaming_forward(self, x: Tensor) -> Tensor:
        return self.forward(x)


class Second(nn.Module):
    """Third part: a full conv with a cache of its own."""

    def __init__(self, channels: int = 64, kernel: int = 3, dilation: int = 2) -> None:
        super().__init__()
        self.padding = (kernel - 1) * dilation
        self.channels = channels
        self.conv = nn.Conv1d(channels, channels, kernel, dilation=dilation)
        self.norm = nn.BatchNorm1d(channels)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(F.pad(x, (self.padding, 0))))) + x

    def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        window = torch.cat([cache, x], dim=2)
        return self.act(self.norm(self.conv(window))) + x, window[:, :, -self.padding :]

    def streaming_caches(self) -> dict[str, tuple[int, ...]]:
        return {"cache": (self.channels, self.padding)}


class TutorialTcn(nn.Module):
    """The three parts in a row; use `Streaming(window=3, stages=["stage0", "stage1", "stage2"])`."""

    def __init__(self, channels: int = 64, expanded: int = 128, dilation: int = 2) -> None:
        super().__init__()
        self.stage0 = Depthwise(channels, expanded, dilation=dilation)
        self.stage1 = Pointwise(channels, expanded)
        self.stage2 = Second(channels, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return self.stage2(self.stage1(self.stage0(x)))
