"""A front end inside a network is taken out of it: what is left takes features, and both together are the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_esp.errors import ConversionError
from lightning_esp.frontend.features import FrontEnd

_COMPARED = 8
_LIMIT = 1e-5


def find_inside(module: nn.Module) -> str | None:
    """Return the path of the only front end inside a network; None where there is none, or several, or nothing else."""
    found = [path for path, child in module.named_modules() if isinstance(child, FrontEnd)]
    return found[0] if len(found) == 1 and found[0] else None


@torch.no_grad()
def split_front_end(module: nn.Module, path: str, waveforms: Sequence[Any]) -> FrontEnd:
    """Take the front end out of a network, and check on recordings that the two still are the network.

    Args:
        module: in evaluation mode; changed: it takes `[batch, bands, frames]` from now on.
        path: where the front end is in it.
        waveforms: recordings as the network took them, without batch dimension.

    Returns:
        The front end.

    Raises:
        ConversionError: the network does something to the samples before the front end, or beside it.
    """
    before = [_first(module(waveform.unsqueeze(0))) for waveform in waveforms[:_COMPARED]]
    front_end = module.get_submodule(path)
    assert isinstance(front_end, FrontEnd)
    parent, _, name = path.rpartition(".")
    module.get_submodule(parent)._modules[name] = nn.Identity()
    for index, (waveform, expected) in enumerate(zip(waveforms, before, strict=False)):
        reason = _differ(module, front_end(waveform.reshape(1, -1)), expected)
        if reason:
            raise ConversionError(
                f"the front end {path!r} ({type(front_end).__name__}) inside {type(module).__name__} cannot be taken out: with "
                f"its features in the place of the samples, the rest {reason} on recording {index}. Let it be the first that the "
                "samples meet, one channel of them; or keep it outside, and give export(front_end=...)."
            )
    return front_end


def _differ(module: nn.Module, features: Tensor, expected: Tensor) -> str:
    try:
        found = _first(module(features))
    except Exception as error:  # whatever the user's forward raises on features
        return f"fails ({type(error).__name__}: {error})"
    if found.shape != expected.shape:
        return f"returns {list(found.shape)} instead of {list(expected.shape)}"
    distance = float((found - expected).abs().max()) if found.numel() else 0.0
    limit = _LIMIT * max(1.0, float(expected.abs().max())) if found.numel() else 0.0
    return "" if distance <= limit else f"returns something else, {distance:.3g} away,"


def _first(result: Any) -> Tensor:
    while not isinstance(result, Tensor):
        result = next(iter(result.values() if isinstance(result, dict) else result))
    return result


class Listening(nn.Module):
    """A stream behind its front end: takes samples where the stream takes features.

    Args:
        front_end: as the chip computes it.
        stream: takes `[batch, bands, frames]`.
    """

    def __init__(self, front_end: Any, stream: nn.Module) -> None:
        super().__init__()
        self.front_end, self.stream = front_end, stream

    @property
    def quantized(self) -> Any:
        """What the stream runs, where it is an integer stream."""
        return getattr(self.stream, "quantized", None)

    @torch.no_grad()
    def forward(self, *arguments: Tensor, **named: Tensor) -> Any:
        """Return what the stream makes of the features of `[batch, samples]` or `[batch, 1, samples]`."""
        waveform = (*arguments, *named.values())[0]
        rows = waveform.detach().cpu().reshape(len(waveform), -1)
        if rows.dtype != torch.int16:
            rows = (rows.float() * 32768).round().clamp(-32768, 32767).to(torch.int16)
        return self.stream(torch.stack([self.front_end(row) for row in rows]))
