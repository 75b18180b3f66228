"""Recordings as a chip takes them, samples of 16 bits or readings, and what a front end makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from lightning_esp.chips import choose_arithmetic
from lightning_esp.errors import DataError
from lightning_esp.frontend.features import FrontEnd
from lightning_esp.frontend.fixed_point import FixedPointFrontEnd
from lightning_esp.frontend.normalize import Normalize

# A recording of which more lies beyond -1 to 1 was scaled otherwise; single peaks beyond are clipped, as a microphone does.
LARGEST_CLIPPED_SHARE = 0.01


@dataclass(frozen=True)
class StreamFeatures:
    """A recording as samples and as features.

    Args:
        samples: int16, `[samples]`, no longer than the frames need; of a sensor its raw readings, float32, as the network took
            them, without batch.
        features: `[bands, frames]`, float32; of a sensor the same shape as the readings.
    """

    samples: Tensor
    features: Tensor


def as_on_chip(front_end: FrontEnd | Normalize, target: str) -> FrontEnd | FixedPointFrontEnd | Normalize:
    """Return the front end as the firmware of a chip computes it: itself, or in fixed point.

    Args:
        front_end: of the training.
        target: the chip.

    Raises:
        ConfigurationError: it is to be computed in fixed point, and cannot be.
    """
    if isinstance(front_end, Normalize):
        return front_end
    is_float = choose_arithmetic(asdict(front_end.config), target) == "float"
    return front_end if is_float else FixedPointFrontEnd(front_end)


@torch.no_grad()
def compute_stream_features(
    front_end: FrontEnd | FixedPointFrontEnd | Normalize, waveforms: Sequence[Tensor]
) -> list[StreamFeatures]:
    """Compute the features of recordings from samples of 16 bits, which is what a microphone or a WAV file gives.

    With a `Normalize` recordings are readings of a sensor, and stay floating point.

    Args:
        front_end: the front end of the training, with its mean and scale, or as a chip computes it.
        waveforms: `[samples]` each (or `[1, samples]`), floating point in -1 to 1, or int16; readings `[channels, time]`.

    Raises:
        DataError: a recording is not one channel of samples, or holds no whole frame; readings are NaN or infinite, or of another
            number of channels.

    Example:
        >>> import torch
        >>> from lightning_esp.frontend import LogMel
        >>> (found,) = compute_stream_features(LogMel(num_mel_bins=20), [torch.zeros(1000)])
        >>> found.samples.shape, found.features.shape
        (torch.Size([880]), torch.Size([20, 4]))
    """
    if isinstance(front_end, Normalize):
        return [_normalize(front_end, index, readings) for index, readings in enumerate(waveforms)]
    return [_compute(front_end, index, waveform) for index, waveform in enumerate(waveforms)]


def _normalize(front_end: Normalize, index: int, recording: Tensor) -> StreamFeatures:
    if not isinstance(recording, Tensor):
        raise DataError(
            f"recording {index} is a {type(recording).__name__}; give a tensor of readings [channels, time]."
        )
    readings = recording.detach().float().cpu()
    try:
        features = front_end(readings.unsqueeze(0))[0]
    except DataError as error:
        raise DataError(f"recording {index}: {error}") from None
    bad = ~readings.movedim(front_end.channel_axis - (front_end.channel_axis > 0), 0).flatten(1).isfinite()
    if bool(bad.any()):
        channel = int(bad.any(1).int().argmax())
        raise DataError(
            f"recording {index} holds {int(bad[channel].sum())} NaN or infinite reading(s) in channel {channel}; leave the recording "
            "out, or fill the gaps."
        )
    return StreamFeatures(readings, features)


def _compute(front_end: FrontEnd | FixedPointFrontEnd, index: int, waveform: Tensor) -> StreamFeatures:
    if not isinstance(waveform, Tensor):
        raise DataError(
            f"recording {index} is a {type(waveform).__name__}; give a tensor of samples, torch.as_tensor(...) say."
        )
    samples = waveform.detach().cpu()
    samples = samples[0] if samples.dim() == 2 and samples.shape[0] == 1 else samples
    if samples.dim() != 1:
        raise DataError(
            f"recording {index} has shape {list(waveform.shape)}; with front_end=... a recording is one channel of samples."
        )
    if samples.dtype != torch.int16:
        samples = _sixteen_bits(index, samples)
    config = front_end.config
    with torch.autocast("cpu", enabled=False):  # a caller may stand in one
        features = front_end(samples)
    frames = features.shape[-1]
    if frames == 0:
        raise DataError(
            f"recording {index} has {len(samples)} samples, fewer than one frame of {config.frame_samples}; leave it out."
        )
    return StreamFeatures(samples[: (frames - 1) * config.hop_samples + config.frame_samples], features)


def _sixteen_bits(index: int, samples: Tensor) -> Tensor:
    if not samples.is_floating_point():
        raise DataError(
            f"recording {index} holds samples of {samples.dtype}; give int16, or floating point in -1 to 1 (divide integers by "
            "their full scale, after taking away 128 from uint8)."
        )
    bad = (~samples.isfinite()).nonzero()
    if len(bad):
        raise DataError(
            f"recording {index} holds {float(samples[bad[0]])} at sample {int(bad[0])}, in {len(bad)} of {len(samples)} samples; "
            "leave the recording out, or mend what reads it."
        )
    beyond = float((samples.abs() > 1).float().mean()) if len(samples) else 0.0
    if beyond > LARGEST_CLIPPED_SHARE:
        raise DataError(
            f"recording {index} reaches {float(samples.abs().max()):.6g}, and {beyond:.0%} of its samples lie beyond -1 to 1, where "
            "a microphone clips; divide samples of 16 bits by 32768, or pass them as int16."
        )
    return (samples.float() * 32768).round().clamp(-32768, 32767).to(torch.int16)
