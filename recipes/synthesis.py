"""Recordings of words made from text: by all synthesizers that are there, in many voices, fast and slow, high and low.

`find_synthesizers()` says what this machine has; `synthesize` spreads clips over it and keeps them on disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from engines import SAMPLE_RATE, EspeakNg, Flite, Pico, RHVoice, SynthesisError, Synthesizer, Voice
from festival import Festival
from listings import Clip
from piper import Piper
from pytorch_lightning.utilities import rank_zero_info
from tqdm import tqdm
from waveforms import resample, trim, write_wav

from lightning_esp.errors import DataError

__all__ = ["Synthesizer", "Voice", "find_synthesizers", "synthesize"]

# What changes the sound of a clip of the same name; a change here makes all of them anew.
_FORM = 1
_SPEEDS, _PITCHES, _FORMANTS = (0.72, 1.4), (0.8, 1.3), (0.86, 1.2)
_ENDINGS = ("", ".", ".", "!", "?", ",")
_LEVEL = 0.7
_KNOWN: dict[str, Callable[[], Synthesizer]] = {
    "espeak-ng": EspeakNg,
    "flite": Flite,
    "festival": Festival,
    "rhvoice": RHVoice,
    "pico": Pico,
    "piper": Piper,
}


@dataclass(frozen=True)
class _Wish:
    """Clip to be made."""

    synthesizer: str
    version: str
    voice: str
    text: str
    speed: float
    pitch: float
    formants: float

    @property
    def file(self) -> str:
        text = json.dumps([_FORM, asdict(self)], sort_keys=True)
        return f"{self.synthesizer}/{hashlib.sha256(text.encode()).hexdigest()[:32]}.wav"


def find_synthesizers(names: Sequence[str] | None = None) -> list[Synthesizer]:
    """Find the synthesizers of this machine, and say what was found.

    Args:
        names: only these, of "espeak-ng", "flite", "festival", "rhvoice", "pico" and "piper"; each must be there.

    Raises:
        DataError: none is there, or one of `names` is not, or is unknown.
    """
    unknown = sorted(set(names or ()) - set(_KNOWN))
    if unknown:
        raise DataError(f"synthesizers: {unknown} are not known; give some of {list(_KNOWN)}.")
    found: list[Synthesizer] = []
    absent: dict[str, str] = {}
    for name in names or _KNOWN:
        try:
            synthesizer = _KNOWN[name]()
            if synthesizer.voices():
                found.append(synthesizer)
            else:
                absent[name] = "it has no English voice"
        except (OSError, SynthesisError) as error:
            absent[name] = str(error)
    if not found or (names and absent):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in absent.items())
        raise DataError(
            f"synthesizers: {'not all of these are' if found else 'none is'} on this machine ({reasons}). `pip install "
            "espeakng-loader` brings one; `apt install espeak-ng flite festival festvox-us-slt-hts` brings more, and voices "
            "of Piper in ~/piper-voices sound most like people."
        )
    speakers = ", ".join(f"{s.name} ({len({v.speaker for v in s.voices()})} speakers)" for s in found)
    missing = f"; not there: {', '.join(absent)}" if absent else ""
    rank_zero_info(f"Words are spoken by {speakers}{missing}.")
    return found


def synthesize(
    texts: Sequence[str],
    count: int,
    folder: Path,
    seed: int = 0,
    synthesizers: Sequence[Synthesizer] | None = None,
    label: str | None = None,
    val_share: float = 0.2,
) -> list[Clip]:
    """Speak texts in many ways, or take from `folder` what was spoken before.

    Clips are spread over synthesizers (by their weights), speakers, speeds, pitches, formants and ways to stress the text;
    they are cut to where they are audible and equally loud. The same arguments and synthesizers give the same list.

    Args:
        texts: what to say; `*word*` is emphasised by synthesizers that can.
        count: clips in all, as evenly over the texts as can be.
        folder: where the clips are kept, as 16-bit WAV of 16 kHz. Any number of runs may use it at once, and any of them may
            be killed: a clip is there as a whole or not at all.
        seed: other clips for other seeds.
        synthesizers: default: all that `find_synthesizers` finds.
        label: what the clips are; default: their text.
        val_share: the share of the clips of the split "val". Their speakers are heard in no clip of "train".

    Returns:
        The clips, with the speaker (across synthesizers) and the split, "train" or "val".

    Raises:
        DataError: `texts` is empty or an entry has no letter, `count` or `val_share` is out of range, the speakers are too
            few to hold some out, or more than a fiftieth of the clips fails.
    """
    _check(texts, count, val_share)
    synthesizers = list(synthesizers) if synthesizers is not None else find_synthesizers()
    pick = random.Random(f"{seed} {label}")
    splits = _split_voices(synthesizers, val_share)
    wishes: list[tuple[_Wish, Clip]] = []
    for number in range(count):
        # Each split goes round all texts.
        split = "val" if int((number + 1) * val_share) > int(number * val_share) else "train"
        rank = int(number * val_share) if split == "val" else number - int(number * val_share)
        text = texts[rank % len(texts)]
        wish, speaker = _draw(pick, splits[split], text)
        wishes.append((wish, Clip(folder / wish.file, label if label is not None else text, speaker, split)))
    failed = _make_all({wish: clip.path for wish, clip in wishes}, {s.name: s for s in synthesizers})
    return [clip for wish, clip in wishes if wish not in failed]


def _check(texts: Sequence[str], count: int, val_share: float) -> None:
    if isinstance(texts, str) or not texts or any(not any(map(str.isalnum, text)) for text in texts):
        raise DataError(f"texts={texts!r}: give a list of texts, each with a letter or a digit.")
    if count < 1:
        raise DataError(f"count={count}: there must be at least one clip.")
    if not 0 <= val_share < 1:
        raise DataError(f"val_share={val_share}: it must be at least 0 and below 1.")


def _split_voices(synthesizers: Sequence[Synthesizer], val_share: float) -> dict[str, dict[Synthesizer, list[Voice]]]:
    """Give each speaker to one split: about `val_share` of those of each synthesizer, in an order that is always the same.

    Speakers whom several synthesizers have are held out last: training hears them in several ways.
    """
    voices = {synthesizer: list(synthesizer.voices()) for synthesizer in synthesizers}
    mute = [synthesizer.name for synthesizer, listed in voices.items() if not listed]
    if mute:
        raise DataError(f"synthesizers: {mute} have no English voice; install one, or leave them out.")
    speakers = Counter(speaker for listed in voices.values() for speaker in {voice.speaker for voice in listed})
    order = sorted(speakers, key=lambda name: (speakers[name], hashlib.sha256(name.encode()).digest()))
    held: set[str] = set()
    for listed in voices.values():
        own = [name for name in order if any(voice.speaker == name for voice in listed)]
        wanted = round(val_share * len(own))
        # Those that another synthesizer gave away count.
        spare = wanted - len(held & set(own))
        held |= set([name for name in own if name not in held][: max(0, spare)])
    if val_share and not held:
        held = {order[0]}
    if held == set(speakers):
        raise DataError(
            f"synthesizers: {len(speakers)} speaker is too few to hold one out for validation. Install another synthesizer "
            "or voice, or give val_share=0."
        )
    splits = {"train": lambda voice: voice.speaker not in held, "val": lambda voice: voice.speaker in held}
    return {
        split: {synthesizer: kept for synthesizer, listed in voices.items() if (kept := list(filter(of, listed)))}
        for split, of in splits.items()
    }


def _draw(pick: random.Random, voices: dict[Synthesizer, list[Voice]], text: str) -> tuple[_Wish, str]:
    """Draw how a text is said, and by whom: the synthesizer by weight, then the speaker, then the speaker's voice."""
    names = list(voices)
    synthesizer = pick.choices(names, [entry.weight for entry in names])[0]
    speaker = pick.choice(sorted({voice.speaker for voice in voices[synthesizer]}))
    voice = pick.choice([voice for voice in voices[synthesizer] if voice.speaker == speaker])
    factors = []
    for least, most in (_SPEEDS, _PITCHES, _FORMANTS):
        # As often twice as fast as half as fast; the middle more often than the ends.
        low, high = np.log(least), np.log(most)
        factors.append(round(float(np.exp(pick.triangular(low, high, 0.0))), 2))
    speed, pitch, formants = factors
    return _Wish(
        synthesizer.name, synthesizer.version, voice.name, _stress(pick, text), speed, pitch, formants
    ), speaker


def _stress(pick: random.Random, text: str) -> str:
    """Write a text as if it was called, asked or said; one word of several is stressed or followed by a pause at times."""
    if not text[-1].isalnum():
        return text
    words = text.split()
    chance = pick.random()
    if chance < 0.25 and "*" not in text:
        number = pick.randrange(len(words))
        words[number] = f"*{words[number]}*"
    elif chance < 0.35 and len(words) > 1:
        words[pick.randrange(len(words) - 1)] += ","
    return " ".join(words) + pick.choice(_ENDINGS)


def _make_all(wanted: dict[_Wish, Path], synthesizers: dict[str, Synthesizer]) -> set[_Wish]:
    """Make what is not on disk, on all processors; the wishes that failed."""
    absent = {wish: path for wish, path in wanted.items() if not path.exists()}
    for folder in {path.parent for path in absent.values()}:
        folder.mkdir(parents=True, exist_ok=True)
        _tidy(folder)

    def make(wish: _Wish) -> str:
        try:
            _make(synthesizers[wish.synthesizer], wish, absent[wish])
        except SynthesisError as error:
            return str(error)
        return ""

    # The synthesizers are other programs or C code: threads keep all processors at work, and need not be started.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        shown = tqdm(pool.map(make, absent), "Speaking", len(absent), unit="clip", disable=not absent)
        failed = {wish: error for wish, error in zip(absent, shown, strict=True) if error}
    if failed:
        counts = dict(Counter(wish.synthesizer for wish in failed))
        first = next(iter(failed.values()))
        message = f"{len(failed)} of {len(wanted)} clips could not be spoken ({counts}); the first: {first}"
        if 50 * len(failed) > len(wanted):
            raise DataError(f"{message}. Leave that synthesizer out by naming the others.")
        rank_zero_info(message)
    return set(failed)


def _make(synthesizer: Synthesizer, wish: _Wish, path: Path) -> None:
    """Speak a clip and put it where it belongs, in one step.

    Another length of the vocal tract moves all formants by one factor. Played faster by it, speech has its formants there,
    and its pitch and speed too, so these are asked for lower by as much.
    """
    moved = wish.formants
    spoken = synthesizer.speak(wish.text, wish.voice, wish.speed / moved, wish.pitch / moved)
    samples = trim(resample(spoken, moved, 1.0), SAMPLE_RATE)
    if len(samples) < 0.05 * SAMPLE_RATE:
        raise SynthesisError(f"{wish.synthesizer}, voice {wish.voice}, is not heard at {wish.text!r}")
    write_wav(path, samples * (_LEVEL / np.abs(samples).max()))


def _tidy(folder: Path) -> None:
    """Remove what runs that were killed more than an hour ago left."""
    for path in folder.glob(".*.tmp"):
        if time.time() - path.stat().st_mtime > 3600:
            path.unlink(missing_ok=True)
