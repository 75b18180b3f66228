"""Streams hold what they say they hold."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_esp.detection.streams import StreamDataset
from lightning_esp.errors import ConfigurationError, DataError

RATE = 1000


def clips(count: int = 6) -> list[tuple[Tensor, str]]:
    """Clips of constant value, so that each can be found again."""
    return [(torch.full((300,), float(number + 1)), f"word{number % 2}") for number in range(count)]


def make(**options: object) -> StreamDataset:
    arguments = {"sample_rate": RATE, "seconds": 20.0, "streams": 2, "keywords_per_minute": 30.0, "noise": []} | options
    return StreamDataset(clips(), [torch.full((500,), -1.0)] * 4, **arguments)  # type: ignore[arg-type]


def test_keywords_lie_where_they_are_said_to_lie() -> None:
    stream = make()[0]
    assert len(stream.waveform) == 20 * RATE
    assert 4 <= len(stream.keywords) <= 16
    for keyword in stream.keywords:
        said = stream.waveform[round(keyword.start * RATE) : round(keyword.end * RATE)]
        assert len(said) == 300
        assert said.min() == said.max() > 0
        assert keyword.label == f"word{int(said[0] - 1) % 2}"
    assert (stream.waveform == -1).any()


def test_a_stream_depends_on_seed_and_index_alone() -> None:
    first, other = make(), make()
    assert torch.equal(first[1].waveform, other[1].waveform)
    assert other[1].keywords == first[1].keywords
    assert first[0].keywords != first[1].keywords
    assert make(seed=1)[0].keywords != first[0].keywords


def test_noise_lies_at_its_distance() -> None:
    noise = [torch.randn(700, generator=torch.Generator().manual_seed(0))]
    quiet, loud = make(decibels=20.0, noise=noise)[0], make(decibels=0.0, noise=noise)[0]
    plain = make()[0].waveform
    spoken = plain[plain != 0].square().mean()
    for stream, decibels in ((quiet, 20.0), (loud, 0.0)):
        power = (stream.waveform - plain).square().mean()
        assert 10 * torch.log10(spoken / power) == pytest.approx(decibels, abs=0.01)


def test_what_repeats_is_told() -> None:
    assert make(seconds=3.0)[0].repeated == 0.0
    assert make(seconds=200.0)[0].repeated > 0.5


def test_noise_alone_is_as_loud_as_it_is() -> None:
    noise = torch.linspace(-1, 1, 300)
    stream = StreamDataset([], [], [noise], sample_rate=RATE, seconds=0.6)[0]
    assert torch.equal(stream.waveform, torch.cat([noise, noise]))
    assert stream.keywords == ()


def test_the_end_of_the_data_set_is_an_end() -> None:
    assert len(list(make())) == 2


def test_what_cannot_work_is_named() -> None:
    with pytest.raises(DataError, match="neither clips nor fillers nor noise"):
        StreamDataset([])
    with pytest.raises(DataError, match=r"shape \[1, 300\]"):
        StreamDataset([(torch.zeros(1, 300), "yes")])
    with pytest.raises(ConfigurationError, match=r"seconds=-1\.0"):
        make(seconds=-1.0)


def test_keywords_have_the_groups_of_their_clips() -> None:
    told = [(waveform, label, {"speaker": str(int(waveform[0]))}) for waveform, label in clips()]
    (stream,) = StreamDataset(told, sample_rate=RATE, seconds=10.0)
    assert stream.keywords
    for keyword in stream.keywords:
        first = stream.waveform[round(keyword.start * RATE)]
        assert keyword.groups == {"speaker": str(int(first))}
