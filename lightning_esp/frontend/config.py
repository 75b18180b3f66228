"""The options of an audio front end, with the field names of ESP-DL's `dl::audio::SpeechFeatureConfig`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightning_esp.errors import ConfigurationError
from lightning_esp.options import check_types

WindowType = Literal["hanning", "hann", "sine", "hamming", "povey", "blackman", "rectangular"]

# Beyond it the tables of ESP-DL's transform fit into no chip's internal memory.
_LARGEST_FFT = 16384


@dataclass(frozen=True)
class FeatureConfig:
    """Audio features; field names, units and meaning are those of ESP-DL's `SpeechFeatureConfig`.

    The defaults are ESP-DL's, with one exception: `high_freq` is 7600 Hz instead of the Nyquist frequency, where
    rounding can make ESP-DL lose the upper edge of the last mel band. ESP-DL declares a field `use_int16_fft` too,
    but reads it nowhere, so it has no place here; `arithmetic` is ours.

    Args:
        sample_rate: samples per second.
        frame_length: length of a frame in whole milliseconds.
        frame_shift: time from one frame to the next in whole milliseconds.
        num_mel_bins: number of mel bands.
        num_ceps: number of cepstral coefficients, `Mfcc` only; at most `num_mel_bins`.
        preemphasis: weight of the previous sample that is subtracted from each sample; 0 leaves it out.
        cepstral_lifter: scale of the cepstral coefficients, `Mfcc` only; 0 leaves it out.
        window_type: `"hanning"`, `"hann"` (periodic), `"sine"`, `"hamming"`, `"povey"` (Kaldi's default),
            `"blackman"` or `"rectangular"`.
        low_freq: lower edge of the first mel band in whole Hz.
        high_freq: upper edge of the last mel band in whole Hz; 0 stands for the Nyquist frequency.
        log_epsilon: floor of a power before its logarithm.
        use_log_fbank: 0 gives band powers, 1 gives log(max(power, `log_epsilon`)), 2 gives
            log(power + `log_epsilon`).
        raw_energy: take the energy before pre-emphasis and window instead of after them.
        use_power: sum powers into bands; False sums magnitudes.
        use_energy: put the log energy of the frame in front of the bands.
        remove_dc_offset: subtract the mean of each frame.
        arithmetic: how the firmware computes: `"float"` in float32, by ESP-DL; `"fixed_point"` in integers, which takes a
            chip without a floating-point unit a tenth of the instructions or less (see `FixedPointFrontEnd`); `"auto"` in
            integers on such chips, else in float32. Training is in float32 always.

    Raises:
        ConfigurationError: a value that ESP-DL cannot work with.

    Example:
        >>> FeatureConfig(num_mel_bins=40).hop_samples
        160
    """

    sample_rate: int = 16000
    frame_length: int = 25
    frame_shift: int = 10
    num_mel_bins: int = 26
    num_ceps: int = 13
    preemphasis: float = 0.97
    cepstral_lifter: float = 22.0
    window_type: WindowType = "hanning"
    low_freq: float = 80.0
    high_freq: float = 7600.0
    log_epsilon: float = 1.1920928955078125e-07
    use_log_fbank: Literal[0, 1, 2] = 1
    raw_energy: bool = True
    use_power: bool = True
    use_energy: bool = False
    remove_dc_offset: bool = True
    arithmetic: Literal["auto", "float", "fixed_point"] = "auto"

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("sample_rate", "frame_length", "frame_shift", "num_mel_bins", "num_ceps"):
            value = getattr(self, name)
            self._require(name, value >= 1, "must be a whole number, at least 1")
        self._require("frame_length", self.frame_samples >= 2, "must hold at least 2 samples")
        self._require("frame_length", self.fft_size <= _LARGEST_FFT, f"must hold at most {_LARGEST_FFT} samples")
        self._require("frame_shift", self.hop_samples >= 1, "must hold at least 1 sample")
        self._require("num_mel_bins", self.num_mel_bins <= _LARGEST_FFT // 2 + 1, "is more than any transform has bins")
        self._require("preemphasis", 0.0 <= self.preemphasis < 1.0, "must be at least 0 and below 1")
        self._require("cepstral_lifter", 0 <= self.cepstral_lifter <= 1e6, "must be from 0 to 1e6")
        self._require(
            "log_epsilon", 1e-37 <= self.log_epsilon <= 1e30, "must be from 1e-37, the least of float32, to 1e30"
        )
        # ESP-DL passes both edges on as integers.
        for name in ("low_freq", "high_freq"):
            value = getattr(self, name)
            self._require(name, value >= 0 and float(value).is_integer(), "must be a whole number of Hz, 0 or more")

    def _require(self, name: str, condition: bool, rule: str) -> None:
        if not condition:
            raise ConfigurationError(f"FeatureConfig({name}={getattr(self, name)!r}) {rule}.")

    @property
    def frame_samples(self) -> int:
        """Samples in one frame."""
        return self.frame_length * self.sample_rate // 1000

    @property
    def hop_samples(self) -> int:
        """Samples from the start of one frame to the start of the next."""
        return self.frame_shift * self.sample_rate // 1000

    @property
    def fft_size(self) -> int:
        """Points of the Fourier transform: the next power of two."""
        return 1 << (self.frame_samples - 1).bit_length()

    @property
    def frame_period(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop_samples / self.sample_rate
