"""Wake words as Lightning data: phrases spoken by synthesizers, own recordings, and what must not be taken for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from clips import UNKNOWN
from listings import Clip, without_phrases
from phrases import make_confusables, make_sentences
from recordings import read_negatives, read_recordings
from scene_data import SceneData
from streams import Recording, make_streams
from synthesis import find_synthesizers, synthesize

from lightning_esp.errors import ConfigurationError

# Phrases that sound like one of the wake words: so many different ones of each, so many phonemes away at least. What is
# nearer is the phrase as somebody says it: with "computel" among the negatives, 4 of 10 people who said "computer" were missed.
CONFUSABLES, DISTANCE = 150, 2.5


class PhraseData(SceneData):
    """Phrases from text and from own recordings; what was made is kept in `cache` and taken from there the next time.

    Batches are those of `SceneData`; the classes are `_unknown_` and the phrases.

    Args:
        phrases: what to listen for, each as it is written: "hey robin".
        recordings: a folder of own recordings, with a folder for each phrase. They count `own_weight` times.
        cache: where synthesized clips and converted recordings are kept.
        takes: synthesized clips of each phrase; 0: none, recordings alone.
        confusable_takes: synthesized clips of phrases that sound like one of them, for each phrase.
        sentences: synthesized sentences of running speech; half of them are for validation.
        speech_roots: folders of speech, music or other sounds without the phrases. A column `transcript` of an `index.csv`
            tells which recordings hold one all the same; they are left out.
        noise_roots: folders of noise to lie under everything.
        rooms_root: a folder of room responses; None: rooms are simulated.
        synthesizers: names of those to use; None: all that this machine has.
        own_weight: how often own recordings come for each time that a synthesized clip does.
        seed: other clips for other seeds.
        batch_size: clips in a batch.
        noise_decibels: the range of the signal-to-noise ratio of training scenes.
        noise_share: the share of training scenes that get noise.
        speech_share: how many scenes of speech alone there are for each clip of a training batch.
        room_share: the share of training scenes that lie in a room, and of those with another microphone's colour.
        scene_seconds: the length of a training scene.
        around_share: the share of scenes with other speech around the word.
        seconds: the length of a clip; longer phrases are cut at both ends.
        num_workers: processes that load data; the clips are in memory, so 0 is fast.
    """

    def __init__(
        self,
        phrases: list[str],
        recordings: str | Path | None = None,
        cache: str | Path = "runs/phrases",
        takes: int = 1200,
        confusable_takes: int = 500,
        sentences: int = 2000,
        speech_roots: list[str] | None = None,
        noise_roots: list[str] | None = None,
        rooms_root: str | Path | None = None,
        synthesizers: list[str] | None = None,
        own_weight: int = 10,
        seed: int = 0,
        batch_size: int = 64,
        noise_decibels: tuple[float, float] = (0.0, 25.0),
        noise_share: float = 0.75,
        speech_share: float = 0.5,
        room_share: float = 0.4,
        scene_seconds: float = 2.4,
        around_share: float = 0.5,
        seconds: float = 1.5,
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            batch_size,
            noise_decibels,
            noise_share,
            speech_share,
            scene_seconds,
            around_share,
            seconds,
            num_workers,
            room_share,
            Path(rooms_root) if rooms_root else None,
        )
        self.phrases = check_phrases(phrases)
        self.labels = [UNKNOWN, *self.phrases]
        self.recordings = Path(recordings) if recordings else None
        self.cache, self.seed, self.own_weight = Path(cache), seed, own_weight
        self.takes, self.confusable_takes, self.sentences = takes, confusable_takes, sentences
        self.speech_roots, self.noise_roots = speech_roots or [], noise_roots or []
        self.synthesizers = synthesizers
        self.clips = []

    def prepare_data(self) -> None:
        """Make what the cache lacks, in one process of each machine."""
        self._list()

    def setup(self, stage: str) -> None:
        """List the clips."""
        if not self.clips:
            self.clips, self.speech_clips, self.noise_clips = self._list()

    def validation_streams(self) -> list[Recording]:
        """Long recordings of the validation split, on which the export chooses the detector's thresholds.

        Phrases that were made to sound like the wake words are left out: they come hundreds of times as often here as in a
        day, and thresholds that keep all of them quiet miss most of what is meant.
        """
        spoken = [clip for clip in self.clips if clip.label in self.phrases]
        return make_streams(spoken, self.speech_clips, self.noise_clips, "val")

    def _list(self) -> tuple[list[Clip], list[Clip], list[Clip]]:
        cache = self.cache / "recordings"
        clips = self._read_own(cache)
        speech = [clip for root in self.speech_roots for clip in read_negatives(Path(root), cache)]
        noise = [clip for root in self.noise_roots for clip in read_negatives(Path(root), cache, "noise")]
        speech = without_phrases(speech, self.phrases)
        if self.takes:
            spoken, sentences = self._synthesize()
            clips, speech = [*spoken, *clips], [*speech, *sentences]
        return clips, speech, noise

    def _read_own(self, cache: Path) -> list[Clip]:
        """Own recordings, the training ones several times; words that are no phrase are confusable ones."""
        if self.recordings is None:
            return []
        own = read_recordings(self.recordings, cache)
        named = [c if c.label in self.phrases else replace(c, label=UNKNOWN) for c in own]
        return [c for c in named for _ in range(self.own_weight if c.split == "train" else 1)]

    def _synthesize(self) -> tuple[list[Clip], list[Clip]]:
        """Clips of the phrases and of what sounds like them, and sentences."""
        found, folder = find_synthesizers(self.synthesizers), self.cache / "synthesized"
        clips = list[Clip]()
        for phrase in self.phrases:
            alike = make_confusables(phrase, CONFUSABLES, self.seed, DISTANCE)
            clips += synthesize([phrase], self.takes, folder, self.seed, found, phrase)
            clips += synthesize(alike, self.confusable_takes, folder, self.seed, found, UNKNOWN)
        texts = make_sentences(self.sentences, self.seed, self.phrases)
        return clips, synthesize(texts, len(texts), folder, self.seed, found, "_speech_", val_share=0.5)


def check_phrases(phrases: Sequence[str]) -> list[str]:
    """Return the phrases without needless blanks.

    Raises:
        ConfigurationError: there are none, one has no letter, or two are the same.
    """
    found = [" ".join(phrase.split()) for phrase in phrases]
    if not found or any(not any(map(str.isalpha, phrase)) for phrase in found):
        raise ConfigurationError(f'phrases={list(phrases)}: give one or more, --phrases "hey robin" "lights off" say.')
    if len({phrase.lower() for phrase in found}) < len(found):
        raise ConfigurationError(f"phrases={list(phrases)}: each is a class of its own; leave one of each.")
    return found
