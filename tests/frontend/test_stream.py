"""A stream yields the frames of the offline call, however the samples are cut."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_esp.errors import DataError
from lightning_esp.frontend import LogMel, Mfcc, Spectrogram

LIMIT = 1e-6

FRONT_ENDS = {
    "log mel": LogMel(num_mel_bins=40),
    "log mel with energy": LogMel(use_energy=True, raw_energy=False, frame_length=30, frame_shift=20),
    "mfcc": Mfcc(),
    "spectrogram": Spectrogram(frame_length=16, frame_shift=8),
    "gaps between frames": LogMel(frame_length=10, frame_shift=25, num_mel_bins=12),
}


def run_stream(front_end, waveform, sizes):
    stream = front_end.stream()
    chunks = torch.split(waveform, sizes, dim=-1)
    return torch.cat([stream.push(chunk) for chunk in chunks], dim=-1)


@pytest.mark.parametrize("front_end", FRONT_ENDS.values(), ids=FRONT_ENDS)
@settings(max_examples=20, deadline=None, derandomize=True)
@given(sizes=st.lists(st.integers(0, 900), min_size=1, max_size=40), seed=st.integers(0, 9))
def test_any_chunks_give_the_frames_of_the_offline_call(front_end, sizes, seed):
    waveform = 0.1 * torch.randn(2, sum(sizes), generator=torch.Generator().manual_seed(seed))
    offline, streamed = front_end(waveform), run_stream(front_end, waveform, sizes)
    assert streamed.shape == offline.shape
    assert (streamed - offline).abs().max().item() <= LIMIT if offline.numel() else True


@pytest.mark.parametrize("front_end", FRONT_ENDS.values(), ids=FRONT_ENDS)
def test_single_samples(front_end):
    waveform = 0.1 * torch.randn(1500, generator=torch.Generator().manual_seed(0))
    streamed = run_stream(front_end, waveform, [1] * 1500)
    assert (streamed - front_end(waveform)).abs().max() <= LIMIT


def test_mean_and_scale_are_applied_and_int16_taken():
    front_end = LogMel()
    waveform = (3000 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(1))).to(torch.int16)
    front_end.measure([waveform])
    assert (run_stream(front_end, waveform, [123, 877, 7000]) - front_end(waveform)).abs().max() <= LIMIT


def test_reset_starts_another_recording():
    front_end = FRONT_ENDS["gaps between frames"]
    waveform = torch.randn(1000, generator=torch.Generator().manual_seed(2))
    stream = front_end.stream()
    stream.push(waveform[:477])
    stream.reset()
    assert torch.equal(stream.push(waveform), front_end(waveform))


def test_two_streams_of_one_module_know_nothing_of_each_other():
    front_end = LogMel()
    first, second = (torch.randn(4000, generator=torch.Generator().manual_seed(seed)) for seed in (3, 4))
    streams = front_end.stream(), front_end.stream()
    found = [[], []]
    for start in range(0, 4000, 250):
        for number, waveform in enumerate((first, second)):
            found[number].append(streams[number].push(waveform[start : start + 250]))
    for parts, waveform in zip(found, (first, second), strict=True):
        assert (torch.cat(parts, dim=-1) - front_end(waveform)).abs().max() <= LIMIT


@pytest.mark.parametrize("chunk", [torch.zeros(3, 100), torch.zeros(2, 100, dtype=torch.int16), torch.zeros(100)])
def test_a_chunk_of_another_kind_is_refused(chunk):
    stream = LogMel().stream()
    stream.push(torch.zeros(2, 100))
    with pytest.raises(DataError, match=r"FeatureStream\.push got a chunk of shape .*reset\(\)"):
        stream.push(chunk)
