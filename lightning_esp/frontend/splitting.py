"""A front end inside a network is taken out of it: what is left takes features, and both together are the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_esp.errors import ConversionError
from lightning_esp.frontend.features import FrontEnd
from lightning_esp.frontend.normalize import Normalize

_COMPARED = 8
_LIMIT = 1e-5


def find_inside(module: nn.Module) -> str | None:
    """Return the path of the only front end inside a network; None where there is none, or several, or nothing else.

    One that makes features of samples comes first: a `Normalize` of its features stays in the network.
    """
    found = list(list_front_ends(module))
    return found[0] if len(found) == 1 and found[0] else None


def list_front_ends(module: nn.Module) -> dict[str, FrontEnd | Normalize]:
    """Return the front ends in a module by path: those that make features of samples, or else those that normalise."""
    for kind in (FrontEnd, Normalize):
        found = {path: child for path, child in module.named_modules() if isinstance(child, kind)}
        if found:
            return found
    return {}


@torch.no_grad()
def split_front_end(module: nn.Module, path: str, recordings: Sequence[Any]) -> FrontEnd | Normalize:
    """Take the front end out of a network, and check on recordings that the two still are the network.

    Args:
        module: in evaluation mode; changed, if there is no error: it takes features from now on, `[batch, bands, frames]`, or
            in the place of readings normalised ones.
        path: where the front end is in it.
        recordings: as the network took them, without batch dimension: samples or readings.

    Returns:
        The front end.

    Raises:
        ConversionError: the network does something to the recordings before the front end, or beside it.
    """
    before = [_first(module(recording.unsqueeze(0))) for recording in recordings[:_COMPARED]]
    front_end = module.get_submodule(path)
    assert isinstance(front_end, FrontEnd | Normalize)
    parent, _, name = path.rpartition(".")
    place = module.get_submodule(parent)._modules
    place[name] = nn.Identity()
    for index, (recording, expected) in enumerate(zip(recordings, before, strict=False)):
        reason = _differ(module, front_end, recording, expected)
        if reason:
            place[name] = front_end
            raise ConversionError(
                f"the front end {path!r} ({type(front_end).__name__}) inside {type(module).__name__} cannot be taken out: with "
                f"what it makes in the place of the recording, the rest {reason} on recording {index}. Let it be the first that "
                "the recording meets (samples: one channel of them); or keep it outside, and give export(front_end=...)."
            )
    return front_end


def _differ(module: nn.Module, front_end: nn.Module, recording: Tensor, expected: Tensor) -> str:
    row = recording.reshape(1, -1) if isinstance(front_end, FrontEnd) else recording.unsqueeze(0)
    try:
        found = _first(module(front_end(row)))
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


class FrontEndNetwork(nn.Module):
    """A stream behind its front end: takes samples, or readings, where the stream takes features.

    Args:
        front_end: as the chip computes it.
        stream: takes `[batch, bands, frames]`, or normalised readings.
    """

    def __init__(self, front_end: Any, stream: nn.Module) -> None:
        super().__init__()
        self.front_end, self.stream = front_end, stream

    @property
    def quantized(self) -> Any:
        """Quantized model of the stream, where it is an integer stream."""
        return getattr(self.stream, "quantized", None)

    @torch.no_grad()
    def forward(self, *arguments: Tensor, **named: Tensor) -> Any:
        """Return what the stream makes of the features of `[batch, samples]`, `[batch, 1, samples]`, or of readings."""
        recordings = (*arguments, *named.values())[0].detach().cpu()
        if isinstance(self.front_end, Normalize):
            return self.stream(self.front_end(recordings))
        rows = recordings.reshape(len(recordings), -1)
        if rows.dtype != torch.int16:
            rows = (rows.float() * 32768).round().clamp(-32768, 32767).to(torch.int16)
        return self.stream(torch.stack([self.front_end(row) for row in rows]))
