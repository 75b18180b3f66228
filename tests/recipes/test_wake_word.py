"""Wake words from text: a phrase goes in, a bundle comes out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile

from lightning_esp.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "wake_word.py"


class Beeper:
    """A synthesizer of tones, as long as its text; several speakers."""

    name, version, weight = "beeper", "1", 1.0

    def voices(self) -> list[Any]:
        from engines import Voice

        return [Voice(f"v{number}", f"v{number}") for number in range(5)]

    def speak(self, text: str, voice: str, speed: float = 1.0, pitch: float = 1.0) -> np.ndarray[Any, Any]:
        time = np.arange(round(16_000 * 0.06 * len(text) / speed)) / 16_000
        tone = np.sin(2 * np.pi * (200 + 40 * int(voice[1:])) * pitch * time)
        return (0.3 * tone).astype(np.float32)


@pytest.fixture
def phrase_data(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(RECIPE.parent))
    import phrase_data

    monkeypatch.setattr(phrase_data, "find_synthesizers", lambda names: [Beeper()])
    monkeypatch.setattr(phrase_data, "make_confusables", lambda phrase, count, seed, least: [phrase[:4], phrase[-5:]])
    monkeypatch.setattr(phrase_data, "make_sentences", lambda count, seed, without: [f"a b {n}" for n in range(count)])
    return phrase_data


def test_phrases_are_spoken_beside_what_sounds_like_them(phrase_data: ModuleType, tmp_path: Path) -> None:
    data = phrase_data.PhraseData(
        ["hey robin", " lights  off"], cache=tmp_path, takes=10, confusable_takes=6, sentences=8
    )
    assert data.labels == ["_unknown_", "hey robin", "lights off"]
    data.prepare_data()
    data.setup("fit")
    counts = {label: sum(clip.label == label for clip in data.clips) for label in data.labels}
    assert counts == {"_unknown_": 12, "hey robin": 10, "lights off": 10}
    assert len(data.speech_clips) == 8
    speakers = {split: {c.speaker for c in data.clips if c.split == split} for split in ("train", "val")}
    assert speakers["train"]
    assert speakers["val"]
    assert not speakers["train"] & speakers["val"], "no voice is in both"
    waveforms, labels = next(iter(data.val_dataloader()))
    assert waveforms.shape[1] == 24_000 + 4_800
    assert set(labels.tolist()) == {0, 1, 2}
    (stream, keywords), (speech, nothing) = data.validation_streams()
    assert len(keywords) == 4, "the held-out takes, and none of what sounds like them"
    assert len(stream) < 16_000 * sum(keyword.end - keyword.start + 2 for keyword in keywords)
    assert {keyword.label for keyword in keywords} == {"hey robin", "lights off"}
    assert nothing == ()
    assert len(speech) > 16_000


def test_own_recordings_count_more(phrase_data: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "own" / "hey_robin"
    folder.mkdir(parents=True)
    tone = 0.3 * np.sin(np.arange(12_000) * 0.2)
    for number in range(10):
        soundfile.write(folder / f"{number}.wav", np.pad((1 - number / 20) * tone, 4000), 16_000)
    data = phrase_data.PhraseData(
        ["hey robin"], tmp_path / "own", tmp_path, takes=10, confusable_takes=4, sentences=4, own_weight=3
    )
    data.setup("fit")
    own = [clip for clip in data.clips if clip.path.parent.name == "recordings" or "recordings" in clip.path.parts]
    held_out = [clip for clip in own if clip.split == "val"]
    assert {clip.label for clip in own} == {"hey robin"}
    assert len(held_out) == 2
    assert len(own) == 3 * 8 + 2


@pytest.mark.parametrize(
    ("phrases", "message"),
    [([], "give one or more"), (["!?"], "give one or more"), (["hey", "Hey "], "a class of its own")],
)
def test_phrases_that_cannot_be_are_refused(phrase_data: ModuleType, phrases: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        phrase_data.PhraseData(phrases)


def test_a_phrase_becomes_a_bundle(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader")
    small = {"takes": 12, "confusable_takes": 8, "sentences": 8, "synthesizers": "[espeak-ng]", "batch_size": 8}
    options = [part for name, value in small.items() for part in (f"--data.{name}", str(value))]
    short = [
        "--trainer.max_epochs",
        "1",
        "--trainer.limit_train_batches",
        "2",
        "--trainer.enable_progress_bar",
        "false",
    ]
    # Decisions after two steps are close to guesses, in integers still more so.
    export = ["--export.output_dir", "bundle", "--export.quantization.tolerance", "0.5", "--export.dry_run", "false"]
    command = [sys.executable, str(RECIPE), "fit", "--phrases", "hey robin", "lights off"]
    done = subprocess.run(
        [*command, *options, *short, *export, "--export.quantization.precision", "int8"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest["labels"] == ["_unknown_", "hey robin", "lights off"]
    assert "finds its keywords" in done.stderr, "two steps of training are not enough, and it says so"
