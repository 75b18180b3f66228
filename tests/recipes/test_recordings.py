"""Recordings as people have them, from phones and long, become takes; what cannot be used is named, with a way out."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from lightning_esp.errors import DataError

ROOT = Path(__file__).parents[2]
RATE = 16_000
FFMPEG = shutil.which("ffmpeg")


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    import recordings

    return recordings


def speak(*seconds: float, rate: int = RATE, hiss: float = 1e-4, seed: int = 0) -> NDArray[np.float64]:
    """Make a recording: pauses and words in turn, in seconds, over hiss."""
    random = np.random.default_rng(seed)
    pieces = [
        (number % 2) * 0.3 * np.sin(np.arange(round(length * rate)) * 0.1 * RATE / rate)
        for number, length in enumerate(seconds)
    ]
    samples = np.concatenate(pieces)
    return samples + hiss * random.standard_normal(len(samples))


def write(path: Path, samples: NDArray[np.float64], rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)
    return path


def seconds(path: Path) -> float:
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.subtype) == (RATE, 1, "PCM_16")
    return float(info.frames / RATE)


def test_a_folder_for_each_word_is_trimmed_and_resampled(
    recordings: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(5):
        write(tmp_path / "own" / "hey_robin" / f"{number}.wav", speak(0.8, 0.6, 0.5, rate=44_100, seed=number), 44_100)
    stereo = np.stack([speak(0.5, 0.7, 0.4)] * 2, 1)
    write(tmp_path / "own" / "lights off" / "a.flac", stereo)
    write(tmp_path / "own" / "lights off" / "b.ogg", speak(0.5, 0.9, 0.4))
    (tmp_path / "own" / "lights off" / "notes.txt").write_text("my words")
    (tmp_path / "own" / ".DS_Store").touch()
    write(tmp_path / "own" / ".trash" / "old.wav", speak(0.1, 0.5, 0.1))
    clips = recordings.read_recordings(tmp_path / "own", tmp_path / "cache")
    assert sorted(clip.label for clip in clips) == ["hey robin"] * 5 + ["lights off"] * 2
    lengths = {clip.label: seconds(clip.path) for clip in clips}
    assert lengths["hey robin"] == pytest.approx(0.7, abs=0.04)
    assert {clip.split for clip in clips if clip.label == "lights off"} == {"train", "val"}
    assert [clip.split for clip in clips].count("val") == 2


def test_a_long_file_is_cut_at_its_pauses(recordings: ModuleType, tmp_path: Path) -> None:
    # A phrase with a pause of its own, a click, a breath, and a stretch without a pause.
    click, breath = speak(0.5, 0.02, 0.5), 0.02 * speak(0.5, 0.6, 0.5, hiss=0)
    long = np.concatenate([speak(1.0, 0.5, 0.2, 0.5, 0.6), click, speak(0.5, 0.8, 0.6), breath, speak(0.5, 3.5, 1.0)])
    found = recordings.find_takes(long.astype(np.float32))
    assert [round((stop - start) / RATE, 1) for start, stop in found] == [1.3, 0.9]
    assert found[0][0] == pytest.approx(0.95 * RATE, abs=0.03 * RATE)
    write(tmp_path / "own" / "go" / "long.wav", long)
    clips = recordings.read_recordings(tmp_path / "own", tmp_path / "cache")
    assert [round(seconds(clip.path), 1) for clip in clips] == [1.3, 0.9]
    assert sorted(clip.split for clip in clips) == ["train", "val"]


def test_hiss_does_not_hide_the_pauses(recordings: ModuleType) -> None:
    long = speak(*[0.8, 0.6] * 6, 0.8, hiss=0.01)
    found = recordings.find_takes(long.astype(np.float32))
    assert [round((stop - start) / RATE, 1) for start, stop in found] == [0.7] * 6


def test_takes_are_cut_once_and_shared_by_runs(
    recordings: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "own" / "go" / "a.wav", speak(0.5, 0.6, 0.5))
    write(tmp_path / "own" / "go" / "b.wav", speak(0.5, 0.7, 0.5))
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(recordings.read_recordings, tmp_path / "own", tmp_path / "cache") for _ in range(4)]
    clips = runs[0].result()
    assert all(run.result() == clips for run in runs)
    assert not list((tmp_path / "cache").glob(".*"))
    with monkeypatch.context() as patch:
        patch.setattr(recordings, "decode", None)
        assert recordings.read_recordings(tmp_path / "own", tmp_path / "cache") == clips
        path.rename(path.with_name("c.wav"))
        assert {clip.path for clip in recordings.read_recordings(tmp_path / "own", tmp_path / "cache")} == {
            clip.path for clip in clips
        }
    write(tmp_path / "own" / "go" / "b.wav", speak(0.5, 0.9, 0.5))
    assert recordings.read_recordings(tmp_path / "own", tmp_path / "cache") != clips


def test_speakers_are_held_out_where_there_are_three(
    recordings: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, speaker in enumerate(("anna", "ben", "carla") * 2):
        write(tmp_path / "own" / "go" / speaker / f"{number}.wav", speak(0.5, 0.6, 0.5, seed=number))
    with caplog.at_level("INFO"):
        clips = recordings.read_recordings(tmp_path / "own", tmp_path / "cache")
    assert {(clip.speaker, clip.split) for clip in clips} == {("anna", "val"), ("ben", "train"), ("carla", "train")}
    assert "2 of 6 own takes are held out, of whole speakers" in caplog.text
    shutil.rmtree(tmp_path / "own" / "go" / "carla")
    with caplog.at_level("INFO"):
        clips = recordings.read_recordings(tmp_path / "own", tmp_path / "cache")
    assert [clip.split for clip in clips].count("val") == 1
    assert "of speakers who are trained with too" in caplog.text


def test_an_index_names_labels_speakers_and_splits(recordings: ModuleType, tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / f"{name}.wav", speak(0.5, 0.6, 0.5))
    (tmp_path / "index.csv").write_text(
        "path,label,speaker,split\na.wav,go,x,train\nb.wav,go,y,dev\nc.wav,stop,z,test\n"
    )
    clips = recordings.read_recordings(tmp_path, tmp_path / "cache")
    found = [(clip.label, clip.speaker, clip.split) for clip in clips]
    assert found == [("go", "x", "train"), ("go", "y", "val"), ("stop", "z", "test")]


@pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")
def test_recordings_of_phones_are_read_by_ffmpeg(recordings: ModuleType, tmp_path: Path) -> None:
    assert FFMPEG
    source = write(tmp_path / "a.wav", speak(0.5, 0.6, 0.5, rate=48_000), 48_000)
    (tmp_path / "own" / "go").mkdir(parents=True)
    subprocess.run([FFMPEG, "-v", "error", "-i", source, tmp_path / "own" / "go" / "a.m4a"], check=True)
    (clip,) = recordings.read_recordings(tmp_path / "own", tmp_path / "cache")
    assert seconds(clip.path) == pytest.approx(0.7, abs=0.08)
    samples = soundfile.read(clip.path)[0]
    assert np.abs(samples).max() == pytest.approx(0.3, abs=0.05)
    (tmp_path / "own" / "go" / "b.m4a").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"b\.m4a cannot be read: ffmpeg says .*Record it again"):
        recordings.read_recordings(tmp_path / "own", tmp_path / "cache")


def test_without_ffmpeg_the_message_says_how_to_get_it(
    recordings: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"voice\.m4a: .* read by ffmpeg.*install ffmpeg"):
        recordings.decode(tmp_path / "voice.m4a")


def test_what_holds_no_take_is_named(recordings: ModuleType, tmp_path: Path) -> None:
    own, cache = tmp_path / "own", tmp_path / "cache"
    with pytest.raises(DataError, match="own is not a folder"):
        recordings.read_recordings(own, cache)
    own.mkdir()
    with pytest.raises(DataError, match="own holds no recordings"):
        recordings.read_recordings(own, cache)
    write(own / "go" / "endless.wav", speak(0.5, 5.0, 0.5))
    with pytest.raises(DataError, match=r"endless\.wav: no take of at most 3 s was found in 6\.0 s"):
        recordings.read_recordings(own, cache)
    assert len(recordings.read_recordings(own, cache, longest=6.0)) == 1
    write(own / "go" / "endless.wav", np.zeros(RATE))
    with pytest.raises(DataError, match=r"endless\.wav is silent"):
        recordings.read_recordings(own, cache)


def test_negatives_of_any_depth_are_cut_into_pieces(recordings: ModuleType, tmp_path: Path) -> None:
    write(tmp_path / "all" / "radio" / "deep" / "a.wav", speak(0, 65.0, rate=8000), 8000)
    write(tmp_path / "all" / "b.flac", speak(0, 2.0))
    pieces = recordings.read_negatives(tmp_path / "all", tmp_path / "cache")
    assert sorted(round(seconds(piece.path), 2) for piece in pieces) == [2.0, 21.67, 21.67, 21.67]
    assert {piece.label for piece in pieces} == {"_speech_"}
    assert [piece.split for piece in pieces].count("val") == 1
    for number in range(5):
        write(tmp_path / "noise" / f"{number}.wav", speak(0, 70.0 if number == 4 else 1.0, seed=number))
    pieces = recordings.read_negatives(tmp_path / "noise", tmp_path / "cache", "_noise_")
    # The fifth file as a whole.
    assert [piece.split for piece in pieces] == ["train"] * 4 + ["val"] * 3
    with pytest.raises(DataError, match="nowhere is not a folder"):
        recordings.read_negatives(tmp_path / "nowhere", tmp_path / "cache")
