"""The front end of a LightningModule, and the samples behind what the exported network sees."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_esp.frontend import FrontEnd
from lightning_esp.streaming import Recording

# Other batch sizes and devices round otherwise; anything beyond comes from something between front end and network.
_LIMIT = 1e-3

# What makes features of samples in torchaudio.
_FEATURES = ("MelSpectrogram", "MFCC", "LFCC", "Spectrogram", "MelScale")


def find_front_end(module: nn.Module) -> FrontEnd | None:
    """Return a copy, on the CPU, of the only front end among the submodules; None where there is none, or several."""
    found = [child for child in module.modules() if isinstance(child, FrontEnd)]
    return copy.deepcopy(found[0]).float().cpu() if len(found) == 1 else None


def explain_frames(module: nn.Module) -> str:
    """Say why an export starts at frames and not at samples, and what would make the firmware listen.

    Args:
        module: a LightningModule for which `match_waveforms` returned None.
    """
    ours = [path for path, child in module.named_modules() if isinstance(child, FrontEnd)]
    others = [
        f"{path or 'the module itself'} ({type(child).__name__})"
        for path, child in module.named_modules()
        if type(child).__module__.startswith("torchaudio.transforms") and type(child).__name__ in _FEATURES
    ]
    if len(ours) > 1:
        reason = f"it has several front ends ({', '.join(ours)}); keep one"
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
            "it has no front end; if it hears audio, give it a LogMel, Mfcc or Spectrogram of lightning_esp.frontend"
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
        listeners = [child for child in module.modules() if isinstance(child, FrontEnd)]
        self._handles = [listener.register_forward_pre_hook(self._hear) for listener in listeners]
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

    def _hear(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._latest = args[0].detach().cpu().clone() if args and isinstance(args[0], Tensor) else None

    def _keep(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self.waveforms.append(self._latest)
        self._latest = None


@torch.no_grad()
def match_waveforms(
    front_end: FrontEnd | None, waveforms: Sequence[Tensor] | None, recordings: Sequence[Recording]
) -> list[Tensor] | None:
    """Return the samples behind recordings, if the front end alone makes each recording of them.

    Args:
        front_end: of the LightningModule.
        waveforms: one for each recording, from `WaveformRecorder.rows`.
        recordings: what the network saw, `[bands, frames]`, padding cut off.

    Returns:
        `[samples]` for each recording; None where the network sees something else than the front end's output.
    """
    if front_end is None or waveforms is None or len(waveforms) < len(recordings):
        return None
    matched = []
    for waveform, recording in zip(waveforms, recordings, strict=False):
        if not isinstance(recording, Tensor) or recording.dim() != 2 or waveform.numel() != waveform.shape[-1]:
            return None
        features = front_end(waveform.reshape(-1))[:, : recording.shape[1]]
        if features.shape != recording.shape or (features - recording).abs().max() > _LIMIT:
            return None
        config = front_end.config
        matched.append(waveform.reshape(-1)[: (recording.shape[1] - 1) * config.hop_samples + config.frame_samples])
    return matched
