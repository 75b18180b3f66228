"""Random rooms, lines and microphones for whole batches of waveforms [batch, samples]; all use torch's global random state."""

from __future__ import annotations

from pathlib import Path

import torch
from clips import SAMPLE_RATE, load
from recordings import list_audio
from torch import Tensor
from torch.nn import functional as F

from lightning_esp.errors import DataError

# Of the telephone, in Hz.
_BAND = (300.0, 3400.0)


def simulate_rooms(count: int, seconds: float = 0.5, decay: tuple[float, float] = (0.1, 0.8)) -> Tensor:
    """Draw room responses [count, samples]: the direct sound, a few early reflections, and noise that dies away.

    Reverberation times are drawn between the two of `decay` (in seconds to -60 dB), each as likely as twice it; those of the
    high frequencies are shorter by up to a half. The direct sound is from 12 dB above to 3 dB below all that follows.
    """
    length = round(seconds * SAMPLE_RATE)
    time = torch.arange(length) / SAMPLE_RATE
    low, high = torch.tensor(decay).log()
    slow = (low + (high - low) * torch.rand(count, 1)).exp()
    fast = slow * (0.5 + 0.5 * torch.rand(count, 1))
    noise = torch.randn(count, length)
    # Neighbours' mean holds the low half of the band, the rest the high one.
    smooth = F.avg_pool1d(noise[:, None], 5, 1, 2)[:, 0]
    # 60 dB are a factor of a thousand: exp(-6.9).
    tail = smooth * (-6.9 * time / slow).exp() + (noise - smooth) * (-6.9 * time / fast).exp()
    # The first reflections come one by one, between 2 and 40 ms; the tail after them.
    start = (0.002 + 0.02 * torch.rand(count, 1)) * SAMPLE_RATE
    tail = tail * (torch.arange(length) >= start)
    first = torch.randint(round(0.002 * SAMPLE_RATE), min(length, round(0.04 * SAMPLE_RATE)), (count, 6))
    tail = tail.scatter_add(1, first, 3 * tail.std(1, keepdim=True) * torch.randn(count, 6))
    below = 10 ** (-(12 - 15 * torch.rand(count, 1)) / 20)
    rooms: Tensor = tail * (below / tail.square().sum(1, keepdim=True).sqrt().clamp(min=1e-9))
    rooms[:, 0] = 1
    return rooms


def read_rooms(folder: Path, seconds: float = 0.5) -> Tensor:
    """Read measured room responses, every audio file in `folder` and below it: [files, samples] at 16 kHz.

    Each begins with its direct sound, its loudest sample, which becomes 1.

    Raises:
        DataError: there is none, or one is silent or cannot be read.
    """
    length = round(seconds * SAMPLE_RATE)
    rooms = []
    for path in list_audio(folder):
        response = load(path).float()
        if not response.any():
            raise DataError(f"{path} is silent; a room response has a direct sound. Take it out of {folder}.")
        start = int(response.abs().argmax())
        cut = response[start : start + length] / response[start]
        rooms.append(F.pad(cut, (0, length - len(cut))))
    if not rooms:
        raise DataError(
            f"{folder} holds no recordings of room responses; give a folder with some, or simulate_rooms(100)."
        )
    return torch.stack(rooms)


def reverberate(waveforms: Tensor, rooms: Tensor, share: float = 0.5) -> Tensor:
    """Put a share of the waveforms into rooms drawn from `rooms` [rooms, samples]; what is loud stays as loud."""
    drawn = rooms[torch.randint(len(rooms), (len(waveforms),))].to(waveforms)
    size = waveforms.shape[1] + rooms.shape[1]
    spectrum = torch.fft.rfft(waveforms, size) * torch.fft.rfft(drawn, size)
    heard = torch.fft.irfft(spectrum, size)[:, : waveforms.shape[1]]
    heard = heard * (_loudness(waveforms) / _loudness(heard).clamp(min=1e-9))
    return _choose(share, heard, waveforms)


def limit_band(
    waveforms: Tensor,
    share: float = 0.5,
    low: tuple[float, float] = (50.0, 300.0),
    high: tuple[float, float] = (3000.0, 8000.0),
) -> Tensor:
    """Cut a share of the waveforms off below and above frequencies drawn from `low` and `high`, in Hz."""
    random = torch.rand(2, len(waveforms), 1, device=waveforms.device)
    lower, upper = (a + (b - a) * drawn for (a, b), drawn in zip((low, high), random, strict=True))
    return _choose(share, _filter(waveforms, lower, upper), waveforms)


def telephone(waveforms: Tensor, share: float = 0.2) -> Tensor:
    """Send a share of the waveforms over a telephone: 300 to 3400 Hz, in 8 bits by the mu-law, at 8 kHz or as good as that."""
    low, high = (waveforms.new_tensor([[edge]]) for edge in _BAND)
    return _choose(share, code_mu_law(_filter(waveforms, low, high)), waveforms)


def code_mu_law(waveforms: Tensor) -> Tensor:
    """Round samples to the 8 bits of the mu-law (ITU-T G.711), on its continuous curve; beyond -1 and 1 they are cut."""
    most = 255.0
    compressed = waveforms.sign() * (waveforms.abs().clamp(max=1) * most).log1p() / torch.tensor(most).log1p()
    rounded = (compressed * 127).round() / 127
    return rounded.sign() * (rounded.abs() * torch.tensor(most).log1p()).expm1() / most


def change_gain(waveforms: Tensor, decibels: tuple[float, float] = (-25.0, 6.0)) -> Tensor:
    """Make each waveform louder or softer by a gain drawn from `decibels`; what goes beyond -1 and 1 is cut, as by a converter."""
    low, high = decibels
    gain = low + (high - low) * torch.rand(len(waveforms), 1, device=waveforms.device)
    return (waveforms * 10 ** (gain / 20)).clamp(-1, 1)


def equalize_waveforms(waveforms: Tensor, most: float = 8.0, bands: int = 6) -> Tensor:
    """Colour each waveform as another microphone would: gains of up to `most` dB at `bands` frequencies, smooth in between.

    The frequencies lie from 60 Hz to 8 kHz, each as far from the next on a scale of octaves; the loudness stays.
    """
    count = waveforms.shape[1] // 2 + 1
    octave = (torch.linspace(0, SAMPLE_RATE / 2, count, device=waveforms.device).clamp(min=60) / 60).log2()
    place = octave / octave[-1] * (bands - 1)
    left = place.long().clamp(max=bands - 2)
    gains = most * (2 * torch.rand(len(waveforms), bands, device=waveforms.device) - 1)
    curve = gains[:, left] + (place - left) * (gains[:, left + 1] - gains[:, left])
    coloured = torch.fft.irfft(torch.fft.rfft(waveforms) * 10 ** (curve / 20), waveforms.shape[1])
    as_loud: Tensor = coloured * (_loudness(waveforms) / _loudness(coloured).clamp(min=1e-9))
    return as_loud


def _filter(waveforms: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Keep what lies between two frequencies [batch or 1, 1], with edges a sixth of an octave wide."""
    # Zeros at the end keep it from running over into the start.
    size = waveforms.shape[1] + SAMPLE_RATE // 10
    frequency = torch.linspace(0, SAMPLE_RATE / 2, size // 2 + 1, device=waveforms.device).clamp(min=1)
    below, above = ((frequency / edge).log2() * 12 for edge in (low, high))
    kept = torch.sigmoid(below) * torch.sigmoid(-above)
    filtered: Tensor = torch.fft.irfft(torch.fft.rfft(waveforms, size) * kept, size)[:, : waveforms.shape[1]]
    return filtered


def _loudness(waveforms: Tensor) -> Tensor:
    return waveforms.square().mean(1, keepdim=True).sqrt()


def _choose(share: float, changed: Tensor, waveforms: Tensor) -> Tensor:
    return torch.where(torch.rand(len(waveforms), 1, device=waveforms.device) < share, changed, waveforms)
