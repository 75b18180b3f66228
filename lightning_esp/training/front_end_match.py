"""The front end of a LightningModule, and the samples behind what the exported network sees."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_esp.conversion import Recording, copy_module
from lightning_esp.frontend import FrontEnd, Normalize, list_front_ends
from lightning_esp.training.readings import match_readings

# Other batch sizes and devices round otherwise; anything beyond comes from something between front end and network.
_LIMIT = 1e-3

# A band that is scaled to less says nothing.
_LEAST_FACTOR = 1e-6

# What makes features of samples in torchaudio.
_FEATURES = ("MelSpectrogram", "MFCC", "LFCC", "Spectrogram", "MelScale")


@dataclass(frozen=True)
class Layout:
    """An order of axes: a forward pre-hook that makes it of `[batch, bands, frames]`.

    Args:
        transposed: frames come before bands.
        extra: place of an axis of length 1, the batch being axis 0; None where there is none.
    """

    transposed: bool = False
    extra: int | None = None

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Arrange the only argument."""
        return tuple(map(self.arrange, args)), {name: self.arrange(value) for name, value in kwargs.items()}

    def arrange(self, features: Tensor) -> Tensor:
        """Return `[batch, bands, frames]` in this layout."""
        turned = features.transpose(1, 2) if self.transposed else features
        return turned if self.extra is None else turned.unsqueeze(self.extra)

    def undo(self, value: Tensor) -> Tensor | None:
        """Return `[batch, bands, frames]`; None for a tensor that is in no such layout."""
        if self.extra is not None:
            if value.ndim != 4 or value.shape[self.extra] != 1:
                return None
            value = value.squeeze(self.extra)
        if value.ndim != 3:
            return None
        return value.transpose(1, 2) if self.transposed else value


LAYOUTS = tuple(Layout(turned, extra) for extra in (None, 1, 3, 2) for turned in (False, True))


@dataclass(frozen=True)
class Match:
    """Front end before a network, and its inputs.

    Args:
        waveforms: `[samples]` behind each recording, or raw readings in the order of axes that the network sees.
        front_end: makes of them what the network sees, but for the order of axes.
        layout: the order that the network sees.
    """

    waveforms: list[Tensor]
    front_end: FrontEnd | Normalize
    layout: Layout

    def dress(self, module: nn.Module) -> nn.Module:
        """Return a copy of the network that takes `[batch, bands, frames]`; the network itself where it does already."""
        if self.layout == Layout():
            return module
        dressed = copy_module(module)
        dressed.register_forward_pre_hook(self.layout, with_kwargs=True)
        return dressed

    def undress(self, stream: nn.Module) -> nn.Module:
        """Return a stream of the dressed network in the place of the network."""
        return stream if self.layout == Layout() else Rearranged(stream, self.layout)


class Rearranged(nn.Module):
    """A stream of a dressed network, in the place of the network: takes what that takes.

    Args:
        stream: takes `[batch, bands, frames]`.
        layout: of what it is given.
    """

    def __init__(self, stream: nn.Module, layout: Layout) -> None:
        super().__init__()
        self.stream, self.layout = stream, layout

    @property
    def quantized(self) -> Any:
        """Quantized model of the stream, where it is an integer stream."""
        return getattr(self.stream, "quantized", None)

    def forward(self, *args: Tensor, **kwargs: Tensor) -> Any:
        """Return what the stream makes of it."""
        return self.stream(self.layout.undo((*args, *kwargs.values())[0]))


def find_front_end(module: nn.Module) -> FrontEnd | Normalize | None:
    """Return a copy, on the CPU, of the only front end among the submodules; None where there is none, or several."""
    found = list(list_front_ends(module).values())
    return copy.deepcopy(found[0]).float().cpu() if len(found) == 1 else None


def explain_frames(module: nn.Module) -> str:
    """Say why an export starts at frames and not at samples, and what would make the firmware listen.

    Args:
        module: a LightningModule for which `match_waveforms` returned None.
    """
    found = list_front_ends(module)
    ours = list(found)
    others = [
        f"{path or 'the module itself'} ({type(child).__name__})"
        for path, child in module.named_modules()
        if type(child).__module__.startswith("torchaudio.transforms") and type(child).__name__ in _FEATURES
    ]
    if len(ours) > 1:
        reason = f"it has several front ends ({', '.join(ours)}); keep one"
    elif ours and isinstance(found[ours[0]], Normalize):
        reason = (
            f"what the network sees is not what {ours[0]} (Normalize) makes of each recording; put it first into the exported "
            "network, which an export takes apart, and what lies between them behind it"
        )
    elif ours:
        reason = (
            f"what the network sees is not what the front end {ours[0]} makes of one channel of samples; move what lies "
            "between them into the network, and mean and scale into the front end (its `measure` sets them)"
        )
    elif others:
        reason = (
            f"its features come from {', '.join(others)}, which ESP-DL's dl::audio does not compute; train with a LogMel, "
            "Mfcc or Spectrogram of lightning_esp.frontend in its place"
        )
    else:
        reason = (
            "it has no front end; if it takes audio, give it a LogMel, Mfcc or Spectrogram of lightning_esp.frontend, and a "
            "Normalize if it takes readings of a sensor, so that the firmware takes them raw"
        )
    return (
        "EspStreamingExport: the firmware will take frames of features from streaming_next_frame (main/frames.hpp) and not "
        f"listen to samples: {reason}."
    )


class WaveformRecorder:
    """Keeps, for each call of a network, what the front end was called with before it.

    Args:
        module: the LightningModule; forward pre-hooks stay on its front ends until `remove`.
        network: the module in it that is exported, with a hook likewise.
    """

    def __init__(self, module: nn.Module, network: nn.Module) -> None:
        self.waveforms: list[Tensor | None] = []
        self._latest: Tensor | None = None
        listeners = list_front_ends(module).values()
        self._handles = [listener.register_forward_pre_hook(self._record) for listener in listeners]
        self._handles.append(network.register_forward_pre_hook(self._keep))

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def rows(self, counts: Sequence[int]) -> list[Tensor] | None:
        """Return the waveforms of single recordings.

        Args:
            counts: recordings in each call of the network.

        Returns:
            `[samples]` or `[channels, samples]` each; None where they don't belong to the calls one to one.
        """
        if len(counts) != len(self.waveforms):
            return None
        rows: list[Tensor] = []
        for count, waveform in zip(counts, self.waveforms, strict=True):
            if waveform is None or waveform.dim() < 2 or waveform.shape[0] != count:
                return None
            rows += list(waveform)
        return rows

    def _record(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._latest = args[0].detach().cpu().clone() if args and isinstance(args[0], Tensor) else None

    def _keep(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self.waveforms.append(self._latest)
        self._latest = None


@torch.no_grad()
def match_waveforms(
    front_end: FrontEnd | Normalize | None,
    waveforms: Sequence[Tensor] | None,
    recordings: Sequence[Recording],
    layouts: Sequence[Layout] = LAYOUTS,
) -> Match | None:
    """Return the samples behind recordings, if a front end makes each recording of them.

    What lies between is a constant shift and factor of each band, which become the front end's own, and an order of axes.

    Args:
        front_end: of the LightningModule.
        waveforms: one for each recording, from `WaveformRecorder.rows`.
        recordings: what the network saw, without batch dimension, padding cut off.
        layouts: those that may be found.

    Returns:
        What matches; None where the network sees something else than the front end's output.
    """
    if isinstance(front_end, Normalize):
        matched = match_readings(front_end, waveforms, recordings)
        return None if matched is None else Match(*matched, Layout())
    if front_end is None or waveforms is None or len(waveforms) < len(recordings) or not recordings:
        return None
    if any(w.numel() != w.shape[-1] for w in waveforms) or not all(isinstance(r, Tensor) for r in recordings):
        return None
    rows = [waveform.reshape(-1) for waveform in waveforms[: len(recordings)]]
    features = [front_end(row) for row in rows]
    for layout in layouts:
        seen = [layout.undo(recording.unsqueeze(0)) for recording in recordings if isinstance(recording, Tensor)]
        if all(
            s is not None and s.shape[1] == front_end.bands and s.shape[2] <= f.shape[1]
            for s, f in zip(seen, features, strict=True)
        ):
            pairs = [(f[:, : s.shape[2]], s[0]) for s, f in zip(seen, features, strict=True) if s is not None]
            fitted = _fit(front_end, pairs)
            if fitted is not None:
                config, counts = front_end.config, [found.shape[1] for found, _ in pairs]
                cut = [
                    r[: (n - 1) * config.hop_samples + config.frame_samples] for r, n in zip(rows, counts, strict=True)
                ]
                return Match(cut, fitted, layout)
    return None


def _fit(front_end: FrontEnd, pairs: Sequence[tuple[Tensor, Tensor]]) -> FrontEnd | None:
    """The front end with the shift and factor of each band that lead from its features to what the network saw, if any do."""
    if all(float((a - b).abs().max()) <= _LIMIT for a, b in pairs if a.numel()):
        return front_end
    found, seen = (torch.cat(each, 1).double() for each in zip(*pairs, strict=True))
    mean, middle = found.mean(1, keepdim=True), seen.mean(1, keepdim=True)
    power = (found - mean).square().sum(1, keepdim=True)
    # A constant band tells no factor.
    factor = torch.where(power > 0, ((found - mean) * (seen - middle)).sum(1, keepdim=True) / power, 1.0)
    shift = middle - factor * mean
    if not bool((factor.abs() > _LEAST_FACTOR).all()):
        return None
    if float((factor * found + shift - seen).abs().max()) > _LIMIT * max(1.0, float(seen.abs().max())):
        return None
    fitted = copy.deepcopy(front_end)
    scale = front_end.scale.double()
    fitted.scale.copy_(scale * factor[:, 0])
    fitted.mean.copy_(front_end.mean.double() - shift[:, 0] / (factor[:, 0] * scale))
    return fitted
