"""Spectra inside a network: torchaudio's transforms and `torch.stft`, told by the front end of ours that takes their place."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lightning_esp.conversion.calling import call
from lightning_esp.conversion.front_end_calls import (
    KALDI_MODULE,
    FrontEndCall,
    Transform,
    add_bands,
    add_frames,
    of_kaldi,
    of_rfft,
    of_stft,
)
from lightning_esp.conversion.handwritten import has_contract
from lightning_esp.errors import UnsupportedOperatorError

_TRANSFORMS = ("LFCC", "MFCC", "MelSpectrogram", "Spectrogram")
_OURS = "lightning_esp.frontend.features.FrontEnd"
_LOGS = ("log", "log10", "log1p", "log2")
# Of 10 * log10(power) beside its natural logarithm.
_DECIBELS = 4.342945


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
    owner = type(module).__name__
    if watch.kaldi is not None:
        function, given = watch.kaldi
        where = f"the model ({owner}): {KALDI_MODULE}.{function}"
        raise UnsupportedOperatorError(_advise(where, of_kaldi(function, given)))
    if watch.rfft is not None and watch.spectrum is None and _are_samples(inputs, watch.rfft.length):
        raise UnsupportedOperatorError(_message(f"the model ({owner}): torch.fft.rfft", of_rfft(watch.rfft), watch))
    if watch.spectrum is not None:
        where = f"the model ({owner}): torch.stft"
        raise UnsupportedOperatorError(_message(where, of_stft(*watch.spectrum), watch))


def _are_samples(inputs: Mapping[str, Tensor], frame: int) -> bool:
    """Tell whether a frame is cut out of a recording of one channel; a transform of sensors, or of all of it, has no equal."""
    return any(value.squeeze().ndim == 1 and value.numel() > frame for value in inputs.values())


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
        self.kaldi: tuple[str, dict[str, Any]] | None = None
        self.rfft: Transform | None = None
        self._last: tuple[str, float] = ("", 0.0)
        self._cut: tuple[int, int] | None = None
        self._window: Tensor | None = None
        self._has_learned = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs, name = kwargs or {}, str(getattr(func, "__name__", "")).rstrip("_")
        if not self.inside:
            self._note(name, args, kwargs)
        return func(*args, **kwargs)

    def _note(self, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        if name == "stft" and self.spectrum is None:
            self.spectrum = (tuple(args), kwargs)
        if name == "fft_rfft" and self.kaldi is None:
            self.kaldi = _kaldi_call()
        if self.rfft is None:
            self._note_frames(name, args, kwargs)
        if self.spectrum is None and self.rfft is None and not self.transforms:
            return
        if name in _LOGS and self.logarithm is None:
            self.logarithm = (name, *self._last)
        if name in ("matmul", "__matmul__", "mm") and self.bands is None:
            sizes = [value.shape for value in args[:2] if isinstance(value, Tensor) and value.ndim >= 2]
            self.bands = int(min(sizes, key=len)[0 if len(sizes[0]) < len(sizes[-1]) else -1]) if sizes else None
        numbers = [value for value in (*args[1:], *kwargs.values()) if isinstance(value, float | int)]
        self._last = (name.strip("_"), float(numbers[0])) if numbers else ("", 0.0)

    def _note_frames(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Note how samples are cut and weighted, and their transform, unless a layer with weights is in front of it."""
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        # Whoever asks for the device or type of a weight computes nothing.
        self._has_learned |= name != "__get" and any(isinstance(value, nn.Parameter) for value in tensors)
        if name == "unfold" and len(args) == 4:
            self._cut = int(args[2]), int(args[3])
        if name.strip("_") in ("mul", "rmul", "imul", "multiply"):
            self._window = next((value for value in tensors if value.squeeze().ndim == 1), self._window)
        if name != "fft_rfft" or self._has_learned:
            return
        given = {**dict(zip(("input", "n", "dim"), args, strict=False)), **kwargs}
        size = int(given["input"].shape[given.get("dim", -1)])
        length, hop = self._cut if self._cut is not None and self._cut[0] <= size else (size, None)
        window = self._window if self._window is not None and self._window.numel() == length else None
        self.rfft = Transform(int(given.get("n") or size), length, hop, None if window is None else window.squeeze())


def _kaldi_call() -> tuple[str, dict[str, Any]] | None:
    """Return the function of torchaudio's Kaldi that is running, the outermost one, with its arguments.

    It is a plain function, which may have been imported under any name: only the stack tells that it was called.
    """
    found, frame = None, inspect.currentframe()
    while frame is not None:
        if _is_kaldi(frame):
            found = frame.f_code.co_name, dict(frame.f_locals)
        frame = frame.f_back
    return found


def _is_kaldi(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") == KALDI_MODULE and frame.f_code.co_name in ("fbank", "mfcc", "spectrogram")


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


def _of_transform(transform: Any) -> FrontEndCall:
    kind = type(transform).__name__
    if kind == "MFCC":
        return _of_mfcc(transform)
    if kind == "LFCC":
        return _of_lfcc(transform)
    if kind == "Spectrogram":
        made = FrontEndCall("Spectrogram")
        rate = 16000
        made.unlike.append(f"sample_rate, which it does not know: {rate} is a guess")
        made.unlike.append("band 0, which is the energy of the frame in ours")
        _add_spectrogram(made, transform, rate)
        return made
    return _of_mel(transform, "LogMel")


def _of_mel(transform: Any, kind: str) -> FrontEndCall:
    made, rate, scale = FrontEndCall(kind), int(transform.sample_rate), transform.mel_scale
    _add_spectrogram(made, transform.spectrogram, rate)
    edges = {"f_min": float(transform.f_min), "f_max": float(transform.f_max or rate / 2)}
    add_bands(made, rate, int(transform.n_mels), **edges)
    if scale.mel_scale != "htk":
        made.unlike.append(f"mel_scale={scale.mel_scale!r} (ours is HTK's)")
    else:
        made.unlike.append("triangles that are linear in Hz (ours, as Kaldi's, are linear in mel)")
    if scale.norm is not None:
        made.unlike.append(f"norm={scale.norm!r} (mean and scale of ours, set by `measure`, do the same for each band)")
    return made


def _of_mfcc(transform: Any) -> FrontEndCall:
    made = _of_mel(transform.MelSpectrogram, "Mfcc")
    return _add_cepstra(made, int(transform.n_mfcc), transform.norm, bool(transform.log_mels))


def _of_lfcc(transform: Any) -> FrontEndCall:
    made, rate = FrontEndCall("Mfcc"), int(transform.sample_rate)
    _add_spectrogram(made, transform.Spectrogram, rate)
    count = int(transform.n_filter)
    add_bands(made, rate, count, f_min=float(transform.f_min), f_max=float(transform.f_max))
    made.unlike.append(f"n_filter={count} filters of equal width in Hz (ours are as many mel bands)")
    return _add_cepstra(made, int(transform.n_lfcc), transform.norm, bool(transform.log_lf))


def _add_cepstra(made: FrontEndCall, count: int, norm: str | None, is_log: bool) -> FrontEndCall:
    made.options |= {"num_ceps": count, "cepstral_lifter": 0.0}
    if norm != "ortho":
        made.unlike.append(f"norm={norm!r} of the cosine transform (ours is 'ortho')")
    if is_log:
        made.options["log_epsilon"] = 1e-6
        made.unlike.append("log(mel + 1e-6) (ours is log(max(mel, 1e-6)))")
    else:
        made.options["log_epsilon"] = 1e-10
        made.unlike.append(f"decibels (ours are natural logarithms, {_DECIBELS} times smaller)")
        made.unlike.append("top_db=80, which needs the loudest frame of the whole recording")
    return made


def _add_spectrogram(made: FrontEndCall, part: Any, rate: int) -> None:
    add_frames(made, rate, part.n_fft, part.hop_length, part.win_length, part.window, bool(part.center))
    if part.power not in (1.0, 2.0) or (made.kind != "LogMel" and part.power != 2.0):
        made.unlike.append(f"power={part.power}")
    elif part.power == 1.0:
        made.options["use_power"] = False
    if part.normalized:
        made.unlike.append(f"normalized={part.normalized!r} (`measure` sets the scale of ours)")
    if part.pad:
        made.unlike.append(f"pad={part.pad}")


def _add_logarithm(made: FrontEndCall, watch: _Watch) -> None:
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


def _message(where: str, made: FrontEndCall, watch: _Watch) -> str:
    if watch.bands is not None and made.kind == "Spectrogram" and not watch.transforms:
        made.kind = "LogMel"
        made.options["num_mel_bins"] = watch.bands
    _add_logarithm(made, watch)
    return _advise(where, made)


def _advise(where: str, made: FrontEndCall) -> str:
    unlike = f" No equal has: {'; '.join(made.unlike)}." if made.unlike else ""
    return (
        f"{where} makes features of samples inside the network, which the chip does in a front end of its own. Take it out of the "
        f"exported module, and train with {made} in front of it: EspStreamingExport then finds it, and export(front_end=...) "
        f"takes it.{unlike} Fine-tune with it, since its numbers are not those of the old one."
    )
