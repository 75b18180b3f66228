"""Calls of `lightning_esp.frontend` that make, as nearly as they can, what `torch.stft`, `torch.fft.rfft` or Kaldi's functions do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

_RATE = 16000
_GUESSED_RATE = f"sample_rate, which it does not know: {_RATE} is a guess"
_KALDI = {"fbank": "LogMel", "mfcc": "Mfcc", "spectrogram": "Spectrogram"}
KALDI_MODULE = "torchaudio.compliance.kaldi"

_WINDOWS: dict[str, Callable[[int], Tensor]] = {
    "hann": lambda n: torch.hann_window(n),
    "hanning": lambda n: torch.hann_window(n, periodic=False),
    "hamming": lambda n: torch.hamming_window(n, periodic=False),
    "blackman": lambda n: torch.blackman_window(n, periodic=False),
    "povey": lambda n: torch.hann_window(n, periodic=False).pow(0.85),
    "rectangular": lambda n: torch.ones(n),
}


@dataclass
class FrontEndCall:
    """A front end of ours in the making.

    Args:
        kind: name of its class.
        options: fields of `FeatureConfig`.
        unlike: parameters of the transform that ours has no equal of.
    """

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    unlike: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"lightning_esp.frontend.{self.kind}(FeatureConfig({options}))"


def add_bands(made: FrontEndCall, rate: int, count: int, **edges: float) -> None:
    """Add the number of bands and their edges in Hz, given by the names that the user knows them by, the lower one first."""
    made.options["num_mel_bins"] = count
    for name, (theirs, value) in zip(("low_freq", "high_freq"), edges.items(), strict=True):
        # ESP-DL loses the last band of those that reach the Nyquist frequency.
        made.options[name] = float(min(round(value), rate // 2 - 1))
        if made.options[name] != value:
            made.unlike.append(f"{theirs}={value:g} ({made.options[name]:g} here)")


def add_frames(
    made: FrontEndCall, rate: int, n_fft: int, hop: int, win: int, window: Tensor | None, center: bool
) -> None:
    """Add frames of `win` samples each `hop`, with their window and transform."""
    made.options["sample_rate"] = rate
    for name, theirs, samples in (("frame_length", "win_length", win), ("frame_shift", "hop_length", hop)):
        milliseconds = samples * 1000 / rate
        made.options[name] = max(1, round(milliseconds))
        if made.options[name] != milliseconds:
            made.unlike.append(f"{theirs}={samples} samples, {milliseconds:.4g} ms (ours are whole milliseconds)")
    made.options |= {"preemphasis": 0.0, "remove_dc_offset": False}
    points = 1 << (made.options["frame_length"] * rate // 1000 - 1).bit_length()
    if n_fft != points:
        made.unlike.append(f"n_fft={n_fft} (ours is the next power of two, {points})")
    made.options["window_type"] = "rectangular" if window is None else _name_window(window)
    if made.options["window_type"] == "":
        made.options["window_type"] = "hann"
        made.unlike.append("its window (hann here)")
    if center:
        made.unlike.append(
            f"center=True, which looks {n_fft // 2} samples ahead and mirrors the edges (frames of ours start at their samples)"
        )


def _name_window(window: Tensor) -> str:
    size = int(window.shape[-1])
    found = (name for name, make in _WINDOWS.items() if torch.allclose(make(size), window.detach().float(), atol=1e-5))
    return next(found, "")


def of_stft(args: Sequence[Any], kwargs: Mapping[str, Any]) -> FrontEndCall:
    """Return the call for the arguments of `torch.stft`."""
    made = FrontEndCall("Spectrogram", unlike=[_GUESSED_RATE])
    names = ("input", "n_fft", "hop_length", "win_length", "window", "center")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    n_fft = int(given["n_fft"])
    win = int(given.get("win_length") or n_fft)
    hop = int(given.get("hop_length") or n_fft // 4)
    add_frames(made, _RATE, n_fft, hop, win, given.get("window"), bool(given.get("center", True)))
    return made


@dataclass(frozen=True)
class Transform:
    """A real Fourier transform of frames of samples.

    Args:
        points: of the transform.
        length: samples of a frame, without zeros behind them.
        hop: samples from one frame to the next; None where the frames were not made by `Tensor.unfold`.
        window: what the frames were multiplied by, as far as it was seen.
    """

    points: int
    length: int
    hop: int | None
    window: Tensor | None


def of_rfft(found: Transform) -> FrontEndCall:
    """Return the call for a Fourier transform of frames that the user cuts."""
    made = FrontEndCall("Spectrogram", unlike=[_GUESSED_RATE])
    hop = _RATE // 100 if found.hop is None else found.hop
    if found.hop is None:
        made.unlike.append(f"frame_shift, since its frames are not made by Tensor.unfold: {hop} samples are a guess")
    add_frames(made, _RATE, found.points, hop, found.length, found.window, center=False)
    return made


def of_kaldi(function: str, given: Mapping[str, Any]) -> FrontEndCall:
    """Return the call for a function of `torchaudio.compliance.kaldi`.

    Args:
        function: its name.
        given: its arguments, all of them.
    """
    made, rate = FrontEndCall(_KALDI[function]), int(given["sample_frequency"])
    made.options["sample_rate"] = rate
    for name in ("frame_length", "frame_shift"):
        made.options[name] = max(1, round(given[name]))
        if made.options[name] != given[name]:
            made.unlike.append(f"{name}={given[name]:g} ms (ours are whole milliseconds)")
    made.options["preemphasis"] = float(min(given["preemphasis_coefficient"], 0.99))
    if made.options["preemphasis"] != given["preemphasis_coefficient"]:
        made.unlike.append(f"preemphasis_coefficient={given['preemphasis_coefficient']:g} (ours is below 1)")
    made.options |= {name: given[name] for name in ("remove_dc_offset", "raw_energy", "window_type")}
    if function != "spectrogram":
        high = given["high_freq"]
        edges = {"low_freq": given["low_freq"], "high_freq": high if high > 0 else rate / 2 + high}
        add_bands(made, rate, given["num_mel_bins"], **edges)
        made.options["use_energy"] = given["use_energy"]
    if function == "fbank":
        made.options |= {"use_power": given["use_power"], "use_log_fbank": int(given["use_log_fbank"])}
    if function == "mfcc":
        made.options |= {"num_ceps": given["num_ceps"], "cepstral_lifter": float(given["cepstral_lifter"])}
    made.unlike += _without_equal(function, given)
    return made


def _without_equal(function: str, given: Mapping[str, Any]) -> list[str]:
    """List those of Kaldi's parameters that ours lacks and that are not at a value which leaves them out."""
    has_energy = function == "spectrogram" or given["use_energy"]
    neutral = {
        "dither": 0.0,
        "snip_edges": True,
        "subtract_mean": False,
        "round_to_power_of_two": True,
        "vtln_warp": 1.0,
    }
    if given["window_type"] == "blackman":
        neutral["blackman_coeff"] = 0.42
    if has_energy:
        neutral |= {"energy_floor": 0.0, "htk_compat": False}
    missing = ["use_energy=True, which replaces the first coefficient (ours puts the energy in front)"]
    missing = missing if function == "mfcc" and given["use_energy"] else []
    return missing + [f"{name}={given[name]!r}" for name, value in neutral.items() if given.get(name, value) != value]
