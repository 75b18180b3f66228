"""Rooms, lines and microphones: what they do to tones and clicks, at the shares that are asked for."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from lightning_esp.errors import DataError

ROOT = Path(__file__).parents[2]
RATE = 16_000


@pytest.fixture
def rooms(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    import rooms

    torch.manual_seed(0)
    return rooms


def tone(hertz: float, count: int = 1, seconds: float = 1.0) -> Tensor:
    return (0.3 * torch.sin(2 * torch.pi * hertz * torch.arange(round(seconds * RATE)) / RATE)).repeat(count, 1)


def decibels(changed: Tensor, waveforms: Tensor) -> Tensor:
    """Level in dB against what it was, [batch], in the middle half."""
    middle = slice(waveforms.shape[1] // 4, -waveforms.shape[1] // 4)
    return 10 * (changed[:, middle].square().mean(1) / waveforms[:, middle].square().mean(1)).log10()


def test_simulated_rooms_die_away_after_the_direct_sound(rooms: ModuleType) -> None:
    responses = rooms.simulate_rooms(200)
    assert responses.shape == (200, RATE // 2)
    assert bool((responses[:, 0] == 1).all())
    assert not responses[:, 1:32].any()
    energy = responses[:, 1:].square().sum(1)
    assert 10 ** (-1.21) < energy.min() < 0.2
    assert 1 < energy.max() < 10**0.31
    early, late = responses[:, 480:2400].square().mean(1), responses[:, -2400:].square().mean(1)
    fall = 10 * (early / late.clamp(min=1e-12)).log10()
    # 0.36 s further on: 27 dB for a reverberation time of 0.8 s, and more for shorter ones.
    assert 18 < fall.min() < 35
    assert fall.median() > 45
    slow, quick = rooms.simulate_rooms(1, decay=(0.79, 0.8)), rooms.simulate_rooms(1, decay=(0.1, 0.11))
    assert slow[0, 4000:].square().sum() > 100 * quick[0, 4000:].square().sum()


def test_a_room_repeats_a_click_and_keeps_the_loudness(rooms: ModuleType) -> None:
    response = torch.zeros(1, 800)
    response[0, 0], response[0, 500] = 1, 0.5
    click = torch.zeros(3, RATE)
    click[:, 1000] = 0.8
    heard = rooms.reverberate(click, response, share=1.0)
    assert heard[0].abs().argsort(descending=True)[:2].tolist() == [1000, 1500]
    assert heard[0, 1500] / heard[0, 1000] == pytest.approx(0.5, abs=1e-4)
    torch.testing.assert_close(heard.square().mean(1), click.square().mean(1))
    # The end of a waveform does not run over into its start.
    click = torch.zeros(1, RATE)
    click[0, -100] = 0.8
    assert float(rooms.reverberate(click, response, share=1.0)[0, :1000].abs().max()) < 1e-4


@pytest.mark.parametrize("change", ["reverberate", "limit_band", "telephone"])
def test_a_share_is_changed_and_the_rest_is_as_it_was(rooms: ModuleType, change: str) -> None:
    waveforms = tone(200, 400, 0.2) + 0.01 * torch.randn(400, 3200)
    how = {"reverberate": (rooms.simulate_rooms(20, 0.1),)}.get(change, ())
    changed = getattr(rooms, change)(waveforms, *how, share=0.3)
    same = (changed == waveforms).all(1)
    assert 0.6 < same.float().mean() < 0.8
    assert torch.equal(getattr(rooms, change)(waveforms, *how, share=0.0), waveforms)
    assert changed.shape == waveforms.shape
    torch.manual_seed(5)
    first = getattr(rooms, change)(waveforms, *how)
    torch.manual_seed(5)
    assert torch.equal(getattr(rooms, change)(waveforms, *how), first)


def test_silence_stays_silent(rooms: ModuleType) -> None:
    silence = torch.zeros(4, 3200)
    for changed in (
        rooms.reverberate(silence, rooms.simulate_rooms(2, 0.1), 1.0),
        rooms.limit_band(silence, 1.0),
        rooms.telephone(silence, 1.0),
        rooms.change_gain(silence),
        rooms.equalize_waveforms(silence),
    ):
        assert torch.equal(changed, silence)


@pytest.mark.parametrize(
    ("hertz", "least", "most"), [(40, -torch.inf, -30), (1000, -1, 1), (3000, -4, 1), (5000, -torch.inf, -20)]
)
def test_a_telephone_passes_its_band(rooms: ModuleType, hertz: float, least: float, most: float) -> None:
    waveforms = tone(hertz) + tone(1000, seconds=1.0) * (hertz == 1000)
    level = float(decibels(rooms.telephone(waveforms, share=1.0), waveforms))
    assert least <= level <= most


def test_bands_are_drawn_between_their_limits(rooms: ModuleType) -> None:
    kept = decibels(rooms.limit_band(tone(1000, 50), 1.0), tone(1000, 50))
    assert float(kept.abs().max()) < 1
    high = decibels(rooms.limit_band(tone(5000, 200), 1.0), tone(5000, 200))
    assert float(high.min()) < -20
    assert float(high.max()) > -1
    assert float(decibels(rooms.limit_band(tone(20, 50), 1.0), tone(20, 50)).max()) < -10


def test_mu_law_rounds_to_eight_bits_finer_where_it_is_soft(rooms: ModuleType) -> None:
    ramp = torch.linspace(-1.2, 1.2, 100_001)[None]
    coded = rooms.code_mu_law(ramp)
    assert len(coded.unique()) == 255
    torch.testing.assert_close(coded.max(), torch.tensor(1.0))
    error = (coded - ramp.clamp(-1, 1)).abs()[0]
    soft = ramp[0].abs() < 0.02
    assert float(error[soft].max()) < 6e-4
    assert 0.01 < float(error.max()) < 0.025


def test_gain_is_drawn_in_decibels_and_cut_at_full_scale(rooms: ModuleType) -> None:
    waveforms = tone(440, 500)
    levels = decibels(rooms.change_gain(waveforms, (-20.0, 0.0)), waveforms)
    assert -20.1 < float(levels.min()) < -18
    assert -2 < float(levels.max()) < 0.1
    assert float(levels.mean()) == pytest.approx(-10, abs=1)
    assert float(rooms.change_gain(waveforms, (30.0, 31.0)).abs().max()) == 1


def test_an_equalizer_changes_the_colour_and_not_the_loudness(rooms: ModuleType) -> None:
    both = tone(150, 300) + tone(4000, 300)
    coloured = rooms.equalize_waveforms(both, most=8.0)
    torch.testing.assert_close(coloured.square().mean(1), both.square().mean(1), rtol=1e-3, atol=1e-6)
    spectrum = torch.fft.rfft(coloured).abs()
    ratio = 20 * (spectrum[:, 4000] / spectrum[:, 150]).log10()
    assert 3 < float(ratio.std()) < 9
    assert float(ratio.abs().max()) <= 16.1
    assert float(rooms.equalize_waveforms(both, most=0.0).sub(both).abs().max()) < 1e-5


def test_measured_rooms_begin_with_their_direct_sound(rooms: ModuleType, tmp_path: Path) -> None:
    response = np.zeros(12_000)
    response[300], response[1300] = -0.5, 0.2
    (tmp_path / "deep").mkdir()
    soundfile.write(tmp_path / "deep" / "a.wav", response, RATE)
    soundfile.write(tmp_path / "b.wav", response[:2000], RATE)
    found = rooms.read_rooms(tmp_path)
    assert found.shape == (2, RATE // 2)
    torch.testing.assert_close(found[:, 0], torch.ones(2))
    torch.testing.assert_close(found[:, 1000], torch.full((2,), -0.4), atol=1e-3, rtol=0)
    soundfile.write(tmp_path / "c.wav", np.zeros(100), RATE)
    with pytest.raises(DataError, match=r"c\.wav is silent"):
        rooms.read_rooms(tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="none holds no recordings of room responses"):
        rooms.read_rooms(tmp_path / "none")
