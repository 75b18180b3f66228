"""`Spectrogram`, `LogMel` and `Mfcc`: ESP-DL's audio features as torch modules."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lightning_esp.errors import ConfigurationError, DataError
from lightning_esp.frontend import functional as steps
from lightning_esp.frontend.config import FeatureConfig
from lightning_esp.frontend.stream import FeatureStream
from lightning_esp.frontend.tables import (
    compute_cosine_transform,
    compute_lifter,
    compute_mel_filters,
    compute_window,
)

# A band that varies less than this over the training set is constant: it is shifted, not scaled.
_LEAST_DEVIATION = 1e-5


class FrontEnd(nn.Module):
    """Base of the audio front ends: framing, window, normalisation and streaming.

    The numbers agree with ESP-DL's as far as ESP-DL agrees with itself. Its float32 Fourier transform (`dl_fft`: radix 4,
    or 2, over half as many complex points, then split) rounds otherwise than torch's, which is also torchaudio's; and
    compilers fuse its multiplications with its additions for chips that have the instruction, and do not for others.
    What is left in quiet bins shows in their logarithm, and the cosine transform and lifter of `Mfcc` enlarge it. Largest
    differences before mean and scale, ESP-DL 3.3.9 compiled for the host, 17 s of words and noise from
    `datasets/tiny_kws`:

    | | `LogMel` | `Mfcc` | `Spectrogram` |
    | --- | --- | --- | --- |
    | this module to ESP-DL | 2.0e-4 | 7.5e-4 | 7.2e-4 |
    | ESP-DL with fused multiply-add to ESP-DL without | 1.4e-4 | 6.5e-4 | 3.6e-4 |
    | ESP-DL around an exact transform to ESP-DL | 1.8e-4 | 5.6e-4 | 4.3e-4 |
    | torchaudio to ESP-DL | 2.0e-4 | 7.5e-4 | 7.2e-4 |
    | this module to torchaudio | 0.7e-4 | 2.0e-4 | 1e-6 |

    ESP-DL's own window, 3e-7 from torch's, would bring `Spectrogram` to 6.7e-4 and `Mfcc` to 7.0e-4 of ESP-DL, and both
    beyond 5e-4 of torchaudio, so the windows are torch's.

    Args:
        config: how audio becomes features. None: the defaults of `FeatureConfig`.
        **options: fields of `FeatureConfig`, instead of `config`.

    Attributes:
        mean: subtracted from each band, `[bands]`; zeros until `measure` was called.
        scale: factor of each band after that, `[bands]`; ones until `measure` was called.
    """

    kind: ClassVar[str]
    """Name of the class in `dl::audio`."""

    window: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, config: FeatureConfig | None = None, **options: Any) -> None:
        super().__init__()
        if config is not None and options:
            raise ConfigurationError(
                f"{type(self).__name__} got both a config and the options {', '.join(sorted(options))}; "
                "put the options into the config."
            )
        self.config = FeatureConfig(**options) if config is None else config
        self._check_config()
        self._register_table("window", compute_window(self.config))
        self.register_buffer("mean", torch.zeros(self.bands))
        self.register_buffer("scale", torch.ones(self.bands))

    @property
    def bands(self) -> int:
        """Features in one frame."""
        raise NotImplementedError

    @property
    def logarithms(self) -> int:
        """Logarithms that are taken for a frame and values computed of them, by which its cost is estimated."""
        return self.bands

    @property
    def frame_period(self) -> float:
        """Seconds from one frame to the next."""
        return self.config.frame_period

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute the features of whole recordings.

        Args:
            waveform: `[batch, samples]` (or any leading axes), floating point in -1 to 1, or int16.

        Returns:
            `[batch, bands, frames]`; a frame for every `frame_shift` that has a whole `frame_length` of samples.

        Raises:
            DataError: the waveform is no tensor, or neither floating point nor int16.
        """
        if not isinstance(waveform, Tensor):
            raise DataError(
                f"The waveform is a {type(waveform).__name__}; pass a tensor, torch.as_tensor(waveform) say."
            )
        features = (self.compute_features(waveform) - self.mean) * self.scale
        return features.transpose(-1, -2).contiguous()

    def stream(self) -> FeatureStream:
        """Return a new stream that turns chunks of samples into the frames of the offline call."""
        return FeatureStream(self)

    @torch.no_grad()
    def measure(self, waveforms: Iterable[Tensor]) -> None:
        """Set `mean` and `scale` so that over `waveforms` every band has mean 0 and deviation 1.

        Args:
            waveforms: recordings `[samples]` or batches `[batch, samples]`; one batch alone will do.

        Raises:
            DataError: there is not one whole frame in them.
        """
        count, total, squares = 0, self.mean.double() * 0, self.mean.double() * 0
        for waveform in waveforms:
            features = self.compute_features(waveform).flatten(0, -2).double()
            count += features.shape[0]
            total = total + features.sum(0)
            squares = squares + features.square().sum(0)
        if count == 0:
            raise DataError(
                f"{type(self).__name__}.measure got no recording of at least {self.config.frame_samples} samples; "
                "pass recordings of the training set."
            )
        mean = total / count
        deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(deviation > _LEAST_DEVIATION, deviation, 1.0).reciprocal())

    def describe(self) -> dict[str, Any]:
        """Return all that another implementation needs, as plain data.

        Returns:
            `kind` (the class in `dl::audio`), `config` (every field of `FeatureConfig`), `bands`, `frame_samples`,
            `hop_samples`, `mean` and `scale` (lists of `bands` numbers).
        """
        return {
            "kind": self.kind,
            "config": asdict(self.config),
            "bands": self.bands,
            "frame_samples": self.config.frame_samples,
            "hop_samples": self.config.hop_samples,
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
        }

    def extra_repr(self) -> str:
        """Return the config for `print(module)`."""
        return str(self.config)

    def _check_config(self) -> None:
        if self.config.fft_size < 8:
            raise ConfigurationError(
                f"FeatureConfig(frame_length={self.config.frame_length}, sample_rate={self.config.sample_rate}) gives "
                f"frames of {self.config.frame_samples} samples; ESP-DL's Fourier transform needs at least 5."
            )

    def _register_table(self, name: str, table: Tensor) -> None:
        # Not in the state dict: tables follow from the config alone.
        self.register_buffer(name, table, persistent=False)

    def compute_features(self, waveform: Tensor) -> Tensor:
        """Return the features before mean and scale, `[..., frames, bands]`."""
        if self.window.dtype not in (torch.float32, torch.float64):
            raise ConfigurationError(
                f"{type(self).__name__} was converted to {self.window.dtype}, too coarse for spectra; "
                "keep it in float32 by calling .float() on it."
            )
        # Mixed precision would multiply powers by filters in half precision.
        with torch.autocast(waveform.device.type, enabled=False):
            samples = steps.convert_samples(waveform, self.window.dtype)
            *leading, length = samples.shape
            frames = steps.cut_frames(
                samples.reshape(math.prod(leading), length), self.config.frame_samples, self.config.hop_samples
            )
            features = steps.convert_in_blocks(self._convert_frames, frames)
            return features.reshape(*leading, *features.shape[1:])

    def _convert_frames(self, frames: Tensor) -> Tensor:
        """Return `[..., frames, bands]` from `[..., frames, frame_samples]`."""
        config = self.config
        if config.remove_dc_offset:
            frames = frames - frames.mean(-1, keepdim=True)
        windowed = steps.emphasize(frames, config.preemphasis) * self.window
        spectrum = steps.compute_spectrum(windowed, config.fft_size, config.use_power)
        features = self._convert_spectrum(spectrum)
        if not self._has_energy:
            return features
        energy = steps.compute_log_energy(frames if config.raw_energy else windowed, config.log_epsilon)
        return torch.cat([energy, features], dim=-1)

    @property
    def _has_energy(self) -> bool:
        return self.config.use_energy

    def _convert_spectrum(self, spectrum: Tensor) -> Tensor:
        """Return the features of `[..., frames, bins]`, the energy aside."""
        raise NotImplementedError

    def _require_power_and_log(self) -> None:
        if not self.config.use_power or self.config.use_log_fbank != 1:
            raise ConfigurationError(
                f"{type(self).__name__} got use_power={self.config.use_power}, "
                f"use_log_fbank={self.config.use_log_fbank}; ESP-DL computes it from powers and their logarithm "
                "whatever the config says, so leave both at their defaults."
            )


class Spectrogram(FrontEnd):
    """Log power spectrogram of ESP-DL's `dl::audio::Spectrogram`.

    Band 0 is the log energy of the frame, the others are log(max(power, `log_epsilon`)) of each frequency up to
    Nyquist, as in `torchaudio.compliance.kaldi.spectrogram` with `energy_floor=0`.

    Example:
        >>> import torch
        >>> Spectrogram()(torch.zeros(2, 16000)).shape
        torch.Size([2, 257, 98])
    """

    kind = "Spectrogram"

    @property
    def bands(self) -> int:
        """Features in one frame: half the points of the Fourier transform, and one."""
        return self.config.fft_size // 2 + 1

    def _check_config(self) -> None:
        super()._check_config()
        self._require_power_and_log()

    @property
    def _has_energy(self) -> bool:
        return True

    def _convert_spectrum(self, spectrum: Tensor) -> Tensor:
        return steps.compress(spectrum[..., 1:], 1, self.config.log_epsilon)


class LogMel(FrontEnd):
    """Mel bands of ESP-DL's `dl::audio::Fbank`.

    The numbers are those of `torchaudio.compliance.kaldi.fbank` with `energy_floor=0` on the same samples.

    Raises:
        ConfigurationError: the config would make ESP-DL lose its last band.

    Example:
        >>> import torch
        >>> front_end = LogMel(num_mel_bins=40)
        >>> front_end(torch.zeros(2, 16000)).shape
        torch.Size([2, 40, 98])
        >>> front_end.frame_period
        0.01
    """

    kind = "Fbank"
    mel_filters: Tensor

    def __init__(self, config: FeatureConfig | None = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._register_table("mel_filters", compute_mel_filters(self.config))

    @property
    def bands(self) -> int:
        """Features in one frame: the mel bands, and the energy if it is used."""
        return self.config.num_mel_bins + int(self._has_energy)

    def _convert_spectrum(self, spectrum: Tensor) -> Tensor:
        mel = steps.project(spectrum, self.mel_filters)
        return steps.compress(mel, self.config.use_log_fbank, self.config.log_epsilon)


class Mfcc(FrontEnd):
    """Mel-frequency cepstral coefficients of ESP-DL's `dl::audio::MFCC`.

    The numbers are those of `torchaudio.compliance.kaldi.mfcc` on the same samples. With `use_energy` ESP-DL puts the
    energy in front of the coefficients, where Kaldi replaces the first one.

    Raises:
        ConfigurationError: more coefficients than bands, more bands than ESP-DL's buffer holds, or a config that
            would make ESP-DL lose its last band.

    Example:
        >>> import torch
        >>> Mfcc(num_mel_bins=40, num_ceps=13)(torch.zeros(2, 16000)).shape
        torch.Size([2, 13, 98])
    """

    kind = "MFCC"
    mel_filters: Tensor
    cosine_transform: Tensor
    lifter: Tensor

    def __init__(self, config: FeatureConfig | None = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._register_table("mel_filters", compute_mel_filters(self.config))
        self._register_table(
            "cosine_transform", compute_cosine_transform(self.config.num_ceps, self.config.num_mel_bins)
        )
        self._register_table("lifter", compute_lifter(self.config.cepstral_lifter, self.config.num_ceps))

    @property
    def bands(self) -> int:
        """Features in one frame: the coefficients, and the energy if it is used."""
        return self.config.num_ceps + int(self._has_energy)

    @property
    def logarithms(self) -> int:
        """Those of the bands, and the coefficients."""
        return self.config.num_mel_bins + self.bands

    def _check_config(self) -> None:
        super()._check_config()
        self._require_power_and_log()
        config = self.config
        if config.num_ceps > config.num_mel_bins:
            raise ConfigurationError(
                f"FeatureConfig(num_ceps={config.num_ceps}, num_mel_bins={config.num_mel_bins}): there can be at most "
                "as many cepstral coefficients as mel bands."
            )
        # ESP-DL keeps the bands behind the spectrum, in a buffer of fft_size numbers.
        room = config.fft_size // 2 - 1
        if config.num_mel_bins > room:
            raise ConfigurationError(
                f"FeatureConfig(num_mel_bins={config.num_mel_bins}): ESP-DL's MFCC has room for {room} bands with "
                f"frames of {config.frame_samples} samples; use fewer bands or a longer frame_length."
            )

    def _convert_spectrum(self, spectrum: Tensor) -> Tensor:
        mel = steps.project(spectrum, self.mel_filters)
        logarithm = steps.compress(mel, 1, self.config.log_epsilon)
        return steps.project(logarithm, self.cosine_transform) * self.lifter
