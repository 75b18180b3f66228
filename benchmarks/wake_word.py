"""Wake words side by side: the misses of our bundles and of others' models at the same rates of false accepts.

    python benchmarks/wake_word.py --bundles runs/wake_word/version_0/esp_bundle --words ../shared/datasets/wake_words \
        --negatives ../shared/datasets/{telephone_speech,negatives,noise,speech_commands}
    python benchmarks/wake_word.py --peers alexa --bundles BUNDLE --words FOLDER --negatives FOLDERS --noise NOISE --decibels 10

Words and negatives are folders with an `index.csv`, of which the test split is taken, or plain folders of audio (of words: a
folder for each). Each recording of words holds its word once; all others of them are negatives for a word. Our models run in
integers, from the files of the bundle. Peers are the models that pymicro-wakeword and pyopen-wakeword ship, where these are
installed, each with its own smoothing. With `--noise` the words lie over it, as in Picovoice's benchmark of wake words.

For each word: misses, with 95 % bounds, at thresholds that hold 0.1, 0.5 and 1 false accepts an hour on these very negatives,
which flatters all alike; misses and false accepts at the thresholds of the bundle, which were chosen without them; bytes of the
model; and seconds of this machine for a second of audio.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_esp import read_bundle
from lightning_esp.detection import DetectorSettings, false_accepts_per_hour
from lightning_esp.detection.whole_recordings import detector_scores

sys.path.append(str(Path(__file__).parents[1] / "recipes"))
from clips import SAMPLE_RATE, load
from listen import make_stream_evaluator
from listings import Clip, hold_out_files, read_index, read_word_folders, spell, without_phrases
from recordings import list_audio

Scores = npt.NDArray[np.float32]
RATES = (0.1, 0.5, 1.0)
# An event at most each second.
APART = 1.0
TAIL = 0.6
THRESHOLDS = np.arange(1, 1000) / 1000


@dataclass(frozen=True)
class Contestant:
    """A model that listens for one word.

    Args:
        name: of the model.
        word: the label that it should find.
        score: maps a waveform `[samples]` to scores in 0 to 1, `[frames]`.
        period: seconds of a frame.
        size: bytes of the model.
        threshold: its own.
    """

    name: str
    word: str
    score: Callable[[Tensor], Scores]
    period: float
    size: int
    threshold: float


def open_bundle(path: Path) -> Iterable[Contestant]:
    """Yield a contestant for each word of a bundle."""
    bundle = read_bundle(path)
    listen, labels = make_stream_evaluator(bundle), list(bundle.labels)
    chip = next(iter(bundle.manifest["targets"].values()))
    detector = chip["detector"]
    settings = DetectorSettings((0.5,) * len(labels), detector["average"], activation=detector["activation"])
    size = sum(file.stat().st_size for file in path.rglob("*.espdl"))

    def run(waveform: Tensor, number: int) -> Scores:
        found: Scores = detector_scores(listen(waveform), settings)[:, number]
        return found

    period = bundle.manifest["streaming"]["frame_period"] * bundle.manifest["streaming"]["stride"]
    for number, (label, threshold) in enumerate(zip(labels, detector["thresholds"], strict=True)):
        if threshold is not None:
            yield Contestant(path.name, label, partial(run, number=number), period, size, threshold)


def open_micro(name: str) -> Contestant:
    """A model of pymicro-wakeword: the mean of its own sliding window."""
    import pymicro_wakeword as peer

    model = peer.MicroWakeWord.from_builtin(peer.Model(name))

    def score(waveform: Tensor) -> Scores:
        features, found = peer.MicroWakeWordFeatures(), list[float]()
        model.reset()
        for frame in features.process_streaming(as_bytes(waveform)):
            probability = model.process_streaming_prob(frame)
            found += [] if probability is None else [float(probability)]
        return np.asarray(found, np.float32)

    file = Path(peer.__file__).parent / "models" / f"{name}.tflite"
    return Contestant("pymicro-wakeword", name, score, 0.03, file.stat().st_size, model.probability_cutoff)


def open_open(name: str) -> Contestant:
    """A model of pyopen-wakeword, with the two that it listens through."""
    import pyopen_wakeword as peer

    model, features = peer.OpenWakeWord.from_builtin(peer.Model(name)), peer.OpenWakeWordFeatures.from_builtin()

    def score(waveform: Tensor) -> Scores:
        model.reset()
        features.reset()
        # It holds ten seconds of sound and takes no more at once.
        pieces = (as_bytes(piece) for piece in torch.split(waveform, SAMPLE_RATE))
        frames = (frame for piece in pieces for frame in features.process_streaming(piece))
        return np.asarray([p for frame in frames for p in model.process_streaming(frame)], np.float32)

    folder = Path(peer.__file__).parent / "models"
    names = (name, "embedding_model", "melspectrogram")
    return Contestant(
        "pyopen-wakeword", name, score, 0.08, sum((folder / f"{n}.tflite").stat().st_size for n in names), 0.5
    )


def as_bytes(waveform: Tensor) -> bytes:
    """Samples of 16 bits."""
    return (waveform * 2**15).round().clamp(-(2**15), 2**15 - 1).short().numpy().tobytes()


def list_clips(folder: Path, words: bool) -> list[Clip]:
    """The recordings of the test split, or all where there is none."""
    if (folder / "index.csv").exists():
        clips = read_index(folder)
        return [clip for clip in clips if clip.split == "test"] or [
            c for c in hold_out_files(clips) if c.split == "val"
        ]
    return read_word_folders(folder) if words else [Clip(path, "_", "", "test") for path in list_audio(folder)]


def over_noise(waveform: Tensor, noise: Tensor | None, decibels: float, random: torch.Generator) -> Tensor:
    """Lay a stretch of noise under a word, and a little time behind it."""
    padded = torch.nn.functional.pad(waveform, (0, round(TAIL * SAMPLE_RATE)))
    if noise is None:
        return padded
    start = int(torch.randint(max(1, len(noise) - len(padded)), (), generator=random))
    under = noise[start : start + len(padded)]
    gain = waveform.square().mean().sqrt() / under.square().mean().sqrt().clamp(min=1e-5) / 10 ** (decibels / 20)
    return padded + gain * torch.nn.functional.pad(under, (0, len(padded) - len(under)))


def count_events(scores: Scores, period: float) -> npt.NDArray[np.int64]:
    """Events at each of the thresholds, at most one each second."""
    size = max(1, round(APART / period))
    peaks = np.asarray([scores[start : start + size].max() for start in range(0, len(scores), size)])
    return np.asarray((peaks[:, None] >= THRESHOLDS).sum(0), np.int64)


def bound(misses: int, count: int) -> tuple[float, float]:
    """95 % bounds of a share (Wilson)."""
    z, share = 1.96, misses / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    width = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - width), min(1.0, middle + width)


def judge(contestant: Contestant, said: Sequence[Tensor], others: Sequence[Tensor]) -> list[str]:
    """One row: what is missed at each rate, and at the threshold of its own."""
    begin = time.process_time()
    peaks = np.asarray([contestant.score(waveform).max(initial=0.0) for waveform in said])
    counts = np.zeros(len(THRESHOLDS), np.int64)
    for waveform in others:
        counts += count_events(contestant.score(waveform), contestant.period)
    seconds = sum(len(waveform) for waveform in [*said, *others]) / SAMPLE_RATE
    spent = (time.process_time() - begin) / seconds
    hours = sum(len(waveform) for waveform in others) / SAMPLE_RATE / 3600
    row = [contestant.name, contestant.word, f"{len(said)}", f"{hours:.2f} h"]
    for rate in RATES:
        quiet = np.flatnonzero(counts <= rate * hours)
        row.append(_tell(peaks, THRESHOLDS[quiet[0]]) if len(quiet) else "-")
    own = int(counts[np.searchsorted(THRESHOLDS, contestant.threshold)])
    row += [f"{_tell(peaks, contestant.threshold)} at {false_accepts_per_hour(own, hours)}"]
    return [*row, f"{contestant.size}", f"{1000 * spent:.1f} ms"]


def _tell(peaks: Scores, threshold: float) -> str:
    misses = int((peaks < threshold).sum())
    low, high = bound(misses, len(peaks))
    return f"{100 * misses / len(peaks):.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def open_peers(words: Sequence[str]) -> list[Contestant]:
    """The peers that are installed, for the words that they know."""
    found = list[Contestant]()
    for module, opener in (("pymicro_wakeword", open_micro), ("pyopen_wakeword", open_open)):
        if importlib.util.find_spec(module) is None:
            print(f"{module} is not installed: pip install 'lightning_esp[benchmarks]'")
            continue
        found += [opener(word) for word in words]
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundles", type=Path, nargs="*", default=[])
    parser.add_argument("--peers", nargs="*", default=[], help="words of the peers: alexa, hey_jarvis ...")
    parser.add_argument("--words", type=Path, required=True)
    parser.add_argument("--negatives", type=Path, nargs="+", required=True)
    parser.add_argument("--noise", type=Path, help="lie the words over recordings of this folder")
    parser.add_argument("--decibels", type=float, default=10.0)
    options = parser.parse_args()
    clips = list_clips(options.words, words=True)
    random, noise = torch.Generator().manual_seed(0), None
    if options.noise:
        noise = torch.cat([load(clip.path).float() / 2**15 for clip in list_clips(options.noise, words=False)])
    spoken = [
        (clip.label, over_noise(load(clip.path).float() / 2**15, noise, options.decibels, random)) for clip in clips
    ]
    found = [clip for folder in options.negatives for clip in list_clips(folder, words=False)]
    silent = without_phrases(found, {clip.label for clip in clips})
    negatives = [load(clip.path).float() / 2**15 for clip in silent]
    contestants = [c for path in options.bundles for c in open_bundle(path)] + open_peers(options.peers)
    heads = ["model", "word", "said", "negatives", *(f"missed at {rate:g}/h" for rate in RATES)]
    print(" | ".join([*heads, "missed at its own threshold", "bytes", "for a second"]))
    for contestant in contestants:
        said = [waveform for label, waveform in spoken if spell(label) == spell(contestant.word)]
        if not said:
            print(f"{contestant.name}: {options.words} holds no {contestant.word!r}")
            continue
        others = [waveform for label, waveform in spoken if spell(label) != spell(contestant.word)]
        print(" | ".join(judge(contestant, said, [*negatives, *others])), flush=True)


if __name__ == "__main__":
    main()
