"""Spoken words as Lightning data: the tiny set, a folder with an `index.csv`, or the full Speech Commands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clips import SILENCE, UNKNOWN, find_noise, find_speech, read_words
from listings import without_phrases
from scene_data import SceneData

TINY_SET = Path(__file__).resolve().parents[1] / "datasets" / "tiny_kws"


class SpeechData(SceneData):
    """Spoken words in clips of one length; batches are (waveforms [batch, samples], label indices [batch]).

    Training batches are `Scenes`: each word at a random place of a longer recording, other speech around it.

    Args:
        root: a folder with an `index.csv`, one with a folder of recordings for each word, or the folder in which
            torchaudio keeps Speech Commands.
        batch_size: clips in a batch.
        noise_root: a folder of noise with an `index.csv`. Default: `noise` beside `root` if there is one, else the
            background noise of Speech Commands, else the training clips labelled `_silence_`.
        speech_root: a folder of speech without keywords with an `index.csv`, of which a column `transcript` tells what to
            leave out all the same. Default: `negatives` beside `root` if there
            is one. It stands around the words of training scenes and fills others, as `_unknown_`, a class that the set need
            not have.
        speech_share: how many scenes of speech alone there are for each clip of a training batch.
        noise_decibels: the range of the signal-to-noise ratio of training scenes.
        noise_share: the share of training scenes that get noise.
        scene_seconds: the length of a training scene.
        around_share: the share of scenes with other speech around the word.
        seconds: the length of a clip.
        download: fetch Speech Commands (2.3 GB) into `root`.
        keywords: the words of Speech Commands to tell apart; all others are `_unknown_`.
        num_workers: processes that load data; the clips are in memory, so 0 is fast.
    """

    def __init__(
        self,
        root: str | Path = TINY_SET,
        batch_size: int = 32,
        noise_root: str | Path | None = None,
        noise_decibels: tuple[float, float] = (0.0, 25.0),
        noise_share: float = 0.75,
        speech_root: str | Path | None = None,
        speech_share: float = 0.6,
        scene_seconds: float = 2.0,
        around_share: float = 0.7,
        seconds: float = 1.0,
        download: bool = False,
        keywords: Sequence[str] = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"),
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            batch_size, noise_decibels, noise_share, speech_share, scene_seconds, around_share, seconds, num_workers
        )
        root = Path(root)
        self.clips = read_words(root, download, keywords)
        self.noise_clips = find_noise(root, Path(noise_root) if noise_root else None, self.clips)
        words = {clip.label for clip in self.clips if not clip.label.startswith("_")}
        self.speech_clips = without_phrases(find_speech(root, Path(speech_root) if speech_root else None), words)
        made = {SILENCE: bool(self.noise_clips), UNKNOWN: bool(self.speech_clips)}
        self.labels = sorted(
            {clip.label for clip in self.clips} | {label for label, is_made in made.items() if is_made}
        )
