"""Spectra inside a network: torchaudio's transforms and `torch.stft`, told by the front end of ours that takes their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lightning_esp.conversion.calling import call
from lightning_esp.conversion.handwritten import has_contract
from lightning_esp.errors import UnsupportedOperatorError

_TRANSFORMS = ("MFCC", "MelSpectrogram", "Spectrogram")
_OURS = "lightning_esp.frontend.features.FrontEnd"
_LOGS = ("log", "log10", "log1p", "log2")
# Of 10 * log10(power) beside its natural logarithm.
_DECIBELS = 4.342945

_WINDOWS: dict[str, Callable[[int], Tensor]] = {
    "hann": lambda n: torch.hann_window(n),
    "hanning": lambda n: torch.hann_window(n, periodic=False),
    "hamming": lambda n: torch.hamming_window(n, periodic=False),
    "blackman": lambda n: torch.blackman_window(n, periodic=False),
    "povey": lambda n: torch.hann_window(n, periodic=False).pow(0.85),
    "rectangular": lambda n: torch.ones(n),
}


@dataclass
class _Call:
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


def refuse_spectra(module: nn.Module, inputs: Mapping[str, Tensor]) -> None:
    """Refuse a network that makes its features itself, with the call of `lightning_esp.frontend` that makes them.

    Args:
        module: the offline module; one with a streaming form of its own may do what it likes.
        inputs: example by argument name, batch in front.

    Raises:
        UnsupportedOperatorError: it does; the message says which parameters have no equal, or what to do with a front end of ours.
    """
    if has_contract(module):
        return
    with _watching(module) as watch:
        call(module, {name: value.clone() for name, value in inputs.items()})
    if watch.ours:
        raise UnsupportedOperatorError(_explain_ours(*watch.ours[0]))
    if watch.transforms:
        path, transform = watch.transforms[0]
        where = f"module {path!r} ({type(transform).__name__})" if path else f"the model ({type(transform).__name__})"
        raise UnsupportedOperatorError(_message(where, _of_transform(transform), watch))
    if watch.spectrum is not None:
        where = f"the model ({type(module).__name__}): torch.stft"
        raise UnsupportedOperatorError(_message(where, _of_stft(*watch.spectrum), watch))


def _explain_ours(path: str, part: nn.Module) -> str:
    """Advice on a front end of ours; `export` has taken out what it can before it converts."""
    where = f"module {path!r}" if path else "the model"
    return (
        f"{where} ({type(part).__name__}) makes features of samples, which the chip does in a front end of its own, and convert takes "
        "the network behind it: give that alone with features as example, convert(network, front_end(samples)). export(module, "
        "recordings of samples) takes a single front end out of a network that starts with it."
    )


class _Watch(TorchFunctionMode):
    """Notes spectra, and how their logarithm is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.ours: list[tuple[str, nn.Module]] = []
        self.transforms: list[tuple[str, nn.Module]] = []
        self.spectrum: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self.inside = 0
        self.bands: int | None = None
        self.logarithm: tuple[str, str, float] | None = None
        self._last: tuple[str, float] = ("", 0.0)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs, name = kwargs or {}, str(getattr(func, "__name__", "")).rstrip("_")
        if not self.inside:
            self._note(name, args, kwargs)
        return func(*args, **kwargs)

    def _note(self, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        if name == "stft" and self.spectrum is None:
            self.spectrum = (tuple(args), kwargs)
        if self.spectrum is None and not self.transforms:
            return
        if name in _LOGS and self.logarithm is None:
            self.logarithm = (name, *self._last)
        if name in ("matmul", "__matmul__", "mm") and self.bands is None:
            sizes = [value.shape for value in args[:2] if isinstance(value, Tensor) and value.ndim >= 2]
            self.bands = int(min(sizes, key=len)[0 if len(sizes[0]) < len(sizes[-1]) else -1]) if sizes else None
        numbers = [value for value in (*args[1:], *kwargs.values()) if isinstance(value, float | int)]
        self._last = (name.strip("_"), float(numbers[0])) if numbers else ("", 0.0)


@contextmanager
def _watching(module: nn.Module) -> Iterator[_Watch]:
    watch, handles = _Watch(), []

    def enter(path: str, transform: nn.Module) -> None:
        if not watch.inside and _is_transform(transform):
            watch.transforms.append((path, transform))
        watch.inside += 1

    def leave(*_: Any) -> None:
        watch.inside -= 1

    for path, part in module.named_modules():
        if _is_ours(part):
            handles.append(part.register_forward_pre_hook(lambda m, _, path=path: watch.ours.append((path, m))))
        if _is_transform(part) or has_contract(part) or _is_decibels(part):
            handles.append(part.register_forward_pre_hook(lambda m, _, path=path: enter(path, m)))
            handles.append(part.register_forward_hook(leave))
        if _is_decibels(part):
            decibels: Any = part

            def note(*_: Any, part: Any = decibels) -> None:
                if watch.inside == 1 and watch.logarithm is None:
                    watch.logarithm = ("dB", "top_db" if part.top_db is not None else "clamp", float(part.amin))

            handles.append(part.register_forward_pre_hook(note))
    try:
        with watch:
            yield watch
    finally:
        for handle in handles:
            handle.remove()


def _is_ours(module: nn.Module) -> bool:
    """By name: this room knows no front end."""
    return any(f"{base.__module__}.{base.__qualname__}" == _OURS for base in type(module).__mro__)


def _is_transform(module: nn.Module) -> bool:
    return _is_torchaudio(module) and type(module).__name__ in _TRANSFORMS


def _is_decibels(module: nn.Module) -> bool:
    return _is_torchaudio(module) and type(module).__name__ == "AmplitudeToDB"


def _is_torchaudio(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torchaudio.transforms")


def _of_transform(transform: Any) -> _Call:
    kind = type(transform).__name__
    if kind == "MFCC":
        return _of_mfcc(transform)
    if kind == "Spectrogram":
        made = _Call("Spectrogram")
        rate = 16000
        made.unlike.append(f"sample_rate, which it does not know: {rate} is a guess")
        made.unlike.append("band 0, which is the energy of the frame in ours")
        _add_spectrogram(made, transform, rate)
        return made
    return _of_mel(transform, "LogMel")


def _of_mel(transform: Any, kind: str) -> _Call:
    made, rate, scale = _Call(kind), int(transform.sample_rate), transform.mel_scale
    _add_spectrogram(made, transform.spectrogram, rate)
    made.options["num_mel_bins"] = int(transform.n_mels)
    for name, value in (("low_freq", float(transform.f_min)), ("high_freq", float(transform.f_max or rate / 2))):
        # ESP-DL loses the last band of those that reach the Nyquist frequency.
        made.options[name] = float(min(round(value), rate // 2 - 1))
        if made.options[name] != value:
            made.unlike.append(f"{'f_min' if name == 'low_freq' else 'f_max'}={value:g} ({made.options[name]:g} here)")
    if scale.mel_scale != "htk":
        made.unlike.append(f"mel_scale={scale.mel_scale!r} (ours is HTK's)")
    else:
        made.unlike.append("triangles that are linear in Hz (ours, as Kaldi's, are linear in mel)")
    if scale.norm is not None:
        made.unlike.append(f"norm={scale.norm!r} (mean and scale of ours, set by `measure`, do the same for each band)")
    return made


def _of_mfcc(transform: Any) -> _Call:
    made = _of_mel(transform.MelSpectrogram, "Mfcc")
    made.options |= {"num_ceps": int(transform.n_mfcc), "cepstral_lifter": 0.0}
    if transform.norm != "ortho":
        made.unlike.append(f"norm={transform.norm!r} of the cosine transform (ours is 'ortho')")
    if transform.log_mels:
        made.options["log_epsilon"] = 1e-6
        made.unlike.append("log(mel + 1e-6) (ours is log(max(mel, 1e-6)))")
    else:
        made.options["log_epsilon"] = 1e-10
        made.unlike.append(f"decibels (ours are natural logarithms, {_DECIBELS} times smaller)")
        made.unlike.append("top_db=80, which needs the loudest frame of the whole recording")
    return made


def _add_spectrogram(made: _Call, part: Any, rate: int) -> None:
    _add_frames(made, rate, part.n_fft, part.hop_length, part.win_length, part.window, bool(part.center))
    if part.power not in (1.0, 2.0) or (made.kind != "LogMel" and part.power != 2.0):
        made.unlike.append(f"power={part.power}")
    elif part.power == 1.0:
        made.options["use_power"] = False
    if part.normalized:
        made.unlike.append(f"normalized={part.normalized!r} (`measure` sets the scale of ours)")
    if part.pad:
        made.unlike.append(f"pad={part.pad}")


def _add_frames(made: _Call, rate: int, n_fft: int, hop: int, win: int, window: Tensor | None, center: bool) -> None:
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


def _of_stft(args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Call:
    made = _Call("Spectrogram", unlike=["sample_rate, which it does not know: 16000 is a guess"])
    names = ("input", "n_fft", "hop_length", "win_length", "window", "center")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    n_fft = int(given["n_fft"])
    win = int(given.get("win_length") or n_fft)
    hop = int(given.get("hop_length") or n_fft // 4)
    _add_frames(made, 16000, n_fft, hop, win, given.get("window"), bool(given.get("center", True)))
    return made


def _add_logarithm(made: _Call, watch: _Watch) -> None:
    if made.kind == "Mfcc":
        return
    if watch.logarithm is None:
        if made.kind == "LogMel":
            made.options["use_log_fbank"] = 0
        return
    name, before, number = watch.logarithm
    is_added = before in ("add", "radd", "iadd")
    if number > 0:
        made.options["log_epsilon"] = number
    if is_added and made.kind == "LogMel":
        made.options["use_log_fbank"] = 2
    elif is_added:
        made.unlike.append(f"log(power + {number:g}) (ours is log(max(power, {number:g})))")
    if name == "dB":
        made.unlike.append(f"decibels (ours are natural logarithms, {_DECIBELS} times smaller)")
        if before == "top_db":
            made.unlike.append("top_db, which needs the loudest frame of the whole recording")
    elif name != "log":
        made.unlike.append(f"{name} (ours is the natural logarithm)")


def _message(where: str, made: _Call, watch: _Watch) -> str:
    if watch.bands is not None and made.kind == "Spectrogram" and watch.spectrum is not None:
        made.kind = "LogMel"
        made.options["num_mel_bins"] = watch.bands
    _add_logarithm(made, watch)
    unlike = f" No equal has: {'; '.join(made.unlike)}." if made.unlike else ""
    return (
        f"{where} makes features of samples inside the network, which the chip does in a front end of its own. Take it out of the "
        f"exported module, and train with {made} in front of it: EspStreamingExport then finds it, and export(front_end=...) "
        f"takes it.{unlike} Fine-tune with it, since its numbers are not those of the old one."
    )
