"""Thresholds are chosen without a look at the test split: a file of it that is opened meanwhile fails these tests."""

from __future__ import annotations

import builtins
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

ROOT = Path(__file__).parents[2]
RATE = 16_000
LABELS = ["_silence_", "_unknown_", "go", "yes"]
PERIOD = 0.01


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Folders as `--data` names them, a tone for each word; the split stands in the name of each file."""
    random = np.random.default_rng(0)
    for folder, labels, seconds in (
        ("speech_commands", ["go", "yes", "_unknown_"], 0.5),
        ("negatives", ["_speech_"], 2.0),
        ("noise", ["rain"], 2.0),
    ):
        rows = ["path,label,speaker,split"]
        for split, count in (("train", 5), ("val", 2), ("test", 2)):
            if split == "val" and folder != "speech_commands":
                continue
            for label in labels:
                for number in range(count):
                    name = f"{split}_{label}_{number}.flac"
                    samples = 0.01 * random.standard_normal(round(seconds * RATE))
                    if label in ("go", "yes"):
                        samples += 0.3 * np.sin(np.arange(len(samples)) * (0.2 if label == "go" else 0.9))
                    (tmp_path / folder).mkdir(exist_ok=True)
                    soundfile.write(tmp_path / folder / name, samples, RATE)
                    rows.append(f"{name},{label},s{number},{split}")
        (tmp_path / folder / "index.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the recordings that are opened, by whatever; one of the test split is an error."""
    names: list[str] = []

    def note(file: Any) -> None:
        name = Path(str(file)).name
        if not name.endswith(".flac"):
            return
        names.append(name)
        if name.startswith("test_"):
            raise AssertionError(f"{name} is of the test split")

    class Watched(soundfile.SoundFile):
        def __init__(self, file: Any, *args: Any, **options: Any) -> None:
            note(file)
            super().__init__(file, *args, **options)

    really_open = builtins.open

    def watch(file: Any, *args: Any, **options: Any) -> Any:
        note(file)
        return really_open(file, *args, **options)

    monkeypatch.setattr(soundfile, "SoundFile", Watched)
    monkeypatch.setattr(builtins, "open", watch)
    return names


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    import listen

    return listen


def compute_stream_features(waveform: Tensor) -> Tensor:
    """Outputs [classes, frames] that are high where a tone is heard."""
    frames = waveform[: len(waveform) // 160 * 160].unflatten(0, (-1, 160))
    spectrum = torch.fft.rfft(frames).abs()
    go, yes = spectrum[:, 3:8].amax(1), spectrum[:, 20:26].amax(1)
    return torch.stack([torch.full_like(go, 4.0), torch.zeros_like(go), 0.5 * go, 0.5 * yes])


def test_choosing_opens_no_file_of_the_test_split(data: Path, opened: list[str], listen: ModuleType) -> None:
    choice = listen.choose(compute_stream_features, data, LABELS, PERIOD, rate=1.0, decibels=10.0)
    words = {f"val_{label}_{number}.flac" for label in ("go", "yes", "_unknown_") for number in range(2)}
    # Every fifth training file of what has no validation split of its own is held out.
    assert set(opened) == words | {"train__speech__4.flac", "train_rain_4.flac"}
    assert choice.false_accepts.count == 0
    assert choice.false_rejects == {"go": 0.0, "yes": 0.0}


def test_a_look_at_the_test_split_would_be_seen(data: Path, opened: list[str], listen: ModuleType) -> None:
    with pytest.raises(AssertionError, match="is of the test split"):
        listen.read_streams(data, "test", 10.0)
    assert opened


def test_the_streams_of_the_recipe_are_of_the_validation_split(
    data: Path, opened: list[str], listen: ModuleType
) -> None:
    from speech_data import SpeechData

    streams = list(SpeechData(data / "speech_commands").validation_streams())
    assert len(streams) >= 2
    assert {name.split("_")[0] for name in opened} <= {"val", "train"}
    assert all(name.endswith("_4.flac") for name in opened if name.startswith("train"))
    assert sorted({keyword.label for keyword in streams[0][1]}) == ["go", "yes"]
