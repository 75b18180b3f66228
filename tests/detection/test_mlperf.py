"""The rule of the streaming wake word benchmark: its stream, and what holds or breaks it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import soundfile
import torch
from torch import Tensor

from lightning_esp.detection import DetectorSettings, WakeWordStream, make_wake_word_stream, mlperf_tiny_streaming
from lightning_esp.detection.detector import NEVER
from lightning_esp.errors import DataError

RATE = 1000
LABELS = ["_other_", "hey", "stop"]
SETTINGS = DetectorSettings((NEVER, 0.5, 0.5), activation="none", refractory=10)
SHARED = Path(__file__).parents[3] / "shared" / "datasets"


def make(seed: int = 0, clips: int = 30, fillers: int = 40) -> WakeWordStream:
    random = torch.Generator().manual_seed(1)
    spoken = [torch.full((700 + 10 * n,), 0.5) for n in range(clips)]
    others = [0.1 * torch.randn(3000, generator=random) for _ in range(fillers)]
    noise = [0.1 * torch.randn(RATE * 500, generator=random)]
    return make_wake_word_stream(spoken, others, noise, "hey", sample_rate=RATE, seed=seed)


def test_the_stream_is_what_the_rule_asks_for() -> None:
    made = make()
    stream = made.stream
    assert len(stream.waveform) == 20 * 60 * RATE
    assert len(stream.keywords) == 50
    assert all(0 <= k.start < k.end <= 1200 and k.label == "hey" for k in stream.keywords)
    assert all(b.start >= a.end for a, b in zip(stream.keywords, stream.keywords[1:], strict=False))
    assert [int(k.start // 24) for k in stream.keywords] == list(range(50))
    # 30 clips make 50 targets, 40 fillers some 270 pieces, and 500 seconds of noise 1200.
    assert 0.7 < stream.repeated < 0.95
    assert made.noise_repeated == pytest.approx(700 / 1200)


def test_a_seed_gives_one_stream() -> None:
    a, b, other = make(3), make(3), make(4)
    assert torch.equal(a.stream.waveform, b.stream.waveform)
    assert a.stream.keywords == b.stream.keywords
    assert a.stream.keywords != other.stream.keywords


def test_enough_audio_repeats_nothing() -> None:
    clips = [torch.ones(500) for _ in range(50)]
    fillers = [0.1 * torch.ones(12_000) for _ in range(200)]
    made = make_wake_word_stream(clips, fillers, [torch.ones(RATE * 1200)], "hey", sample_rate=RATE)
    assert (made.stream.repeated, made.noise_repeated) == (0, 0)


def oracle(made: WakeWordStream, missed: int, extra: int, label: int = 1) -> Tensor:
    """Scores [classes, frames of 10 ms] that find all targets but some, and some more events."""
    scores = torch.zeros(3, 120_000)
    for keyword in made.stream.keywords[missed:]:
        scores[label, round(keyword.end * 100) - 5] = 0.9
    for number, keyword in enumerate(made.stream.keywords[:extra]):
        place = keyword.end + 2 if keyword.end % 24 < 20 else keyword.start - 2
        scores[label, round(place * 100) + number % 3] = 0.9
    return scores


@pytest.mark.parametrize(("missed", "extra", "passed"), [(0, 0, True), (8, 8, True), (9, 0, False), (0, 9, False)])
def test_eight_of_each_are_allowed(missed: int, extra: int, passed: bool) -> None:
    made = make()
    found = mlperf_tiny_streaming(lambda _: oracle(made, missed, extra), made, SETTINGS, LABELS, 0.01)
    assert (found.false_positives, found.false_negatives, found.targets) == (extra, missed, 50)
    assert found.passed is passed
    assert found.false_accepts.hours == pytest.approx(1 / 3)
    assert str(found).startswith("holds" if passed else "fails")
    assert f"{100 * made.stream.repeated:.0f} % of clips and fillers" in str(found)


def test_events_of_other_words_do_not_count() -> None:
    made = make()
    found = mlperf_tiny_streaming(lambda _: oracle(made, 0, 5, label=2), made, SETTINGS, LABELS, 0.01)
    assert (found.false_positives, found.false_negatives) == (0, 50)


def test_what_cannot_make_a_stream_is_named() -> None:
    with pytest.raises(DataError, match="got 0 clips"):
        make_wake_word_stream([], [], [], "hey")
    with pytest.raises(DataError, match="at most 12 seconds"):
        make_wake_word_stream([torch.ones(13 * RATE)], [], [], "hey", sample_rate=RATE)
    with pytest.raises(DataError, match="'hey' is not among the labels 'yes'"):
        mlperf_tiny_streaming(lambda x: x[None], make(), DetectorSettings((0.5,)), ["yes"], 0.01)


def read(folder: str, label: str | None = None) -> list[Tensor]:
    with (SHARED / folder / "index.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test" and label in (None, row["label"])]
    return [torch.from_numpy(soundfile.read(SHARED / folder / row["path"], dtype="float32")[0]) for row in rows]


@pytest.mark.skipif(not (SHARED / "speech_commands").exists(), reason="the shared data are not beside the repository")
def test_a_stream_of_real_test_clips() -> None:
    clips, speech, noise = read("speech_commands", "yes"), read("negatives"), read("noise")
    made = make_wake_word_stream(clips, speech, noise, "yes", decibels=10)
    again = make_wake_word_stream(clips, speech, noise, "yes", decibels=10)
    assert torch.equal(made.stream.waveform, again.stream.waveform)
    assert len(made.stream.keywords) == 50
    clean = make_wake_word_stream(clips, speech, [], "yes").stream
    difference = made.stream.waveform - clean.waveform
    spoken = clean.waveform[clean.waveform != 0].square().mean()
    assert 10 * torch.log10(spoken / difference.square().mean()) == pytest.approx(10, abs=0.1)
    assert 0 <= made.stream.repeated < 1
    assert 0 <= made.noise_repeated < 1
