"""People's own recordings, from phones and computers, as clips: decoded, cut into takes, trimmed, and kept as WAV of 16 kHz."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from clips import SAMPLE_RATE, load
from listings import Clip, hold_out_files, hold_out_speakers, read_index
from pytorch_lightning.utilities import rank_zero_info
from waveforms import Waveform, find_audible, write_wav

from lightning_esp.errors import DataError

# What soundfile reads, and what needs ffmpeg: phones, messengers and screens record those.
_PLAIN = (".wav", ".flac", ".ogg", ".oga", ".mp3", ".aiff", ".aif", ".opus", ".au", ".caf", ".w64")
_OTHERS = (".m4a", ".mp4", ".aac", ".3gp", ".amr", ".wma", ".webm", ".mov", ".mka", ".mkv", ".m4b")
_SHORTEST = 0.15
_PAUSE = 0.35
# What changes the pieces of a file of the same content; a change here makes all of them anew.
_FORM = 1

Cut = tuple[int, int]


def read_recordings(root: Path, cache: Path, longest: float = 3.0) -> list[Clip]:
    """Read recordings of words: a folder for each word, with any files in it, or an `index.csv` (see `listings.read_index`).

    A file with one take is trimmed to where it is audible; one that is longer than `longest` is cut at its pauses. A word's
    folder may be named `hey robin` or `hey_robin`, files below it in folders by speaker: `hey_robin/anna/1.m4a`. Without
    splits, a tenth of three and more speakers is held out for validation, else every fifth take of each word, which says
    little about other speakers; it says which.

    Args:
        root: the folder.
        cache: where the takes are kept, by the content of the files; any number of runs may use it at once.
        longest: the length of the longest take, in seconds.

    Returns:
        A clip for each take, 16-bit WAV of 16 kHz, of the split "train" or "val" (or "test", where an index says so).

    Raises:
        DataError: there are no recordings, or one is silent, has no take that is short enough, or cannot be read, with the
            file and what to do.
    """
    if (root / "index.csv").exists():
        files = read_index(root)
    else:
        folders = [f for f in sorted(root.iterdir()) if f.is_dir() and f.name[0] not in "._"] if root.is_dir() else []
        files = [Clip(path, _name(f), _speaker(path, f), "train") for f in folders for path in list_audio(f)]
    if not files:
        raise DataError(
            f"{root} {'holds no recordings' if root.is_dir() else 'is not a folder'}. Give a folder with a folder of "
            "recordings for each word (hey_robin/1.m4a ...), or with an index.csv (columns path and label)."
        )
    cut = partial(find_takes, longest=longest)
    clips = [take for file in files for take in _cut_file(file, cache, f"take of at most {longest:g} s", cut)]
    rank_zero_info(f"{root}: {len(clips)} takes of {sorted({clip.label for clip in clips})} in {len(files)} files.")
    return _hold_out(clips)


def read_negatives(folder: Path, cache: Path, label: str = "_speech_", longest: float = 30.0) -> list[Clip]:
    """Read recordings without the words, of speech, music or noise: all audio in a folder and below, or by its `index.csv`.

    Files longer than `longest` are cut into such pieces. Without splits, every fifth piece of each label is held out for
    validation, whole files where there are five.

    Args:
        folder: the folder.
        cache: where pieces are kept, and files that are no WAV or FLAC of 16 kHz; see `read_recordings`.
        label: what to call them where no index does.
        longest: the length of the longest piece, in seconds.

    Raises:
        DataError: there are no recordings, or one cannot be read, with the file and what to do.
    """
    files = read_index(folder) if (folder / "index.csv").exists() else []
    files = files or [Clip(path, label, "", "train") for path in list_audio(folder)]
    if not files:
        raise DataError(
            f"{folder} {'holds no recordings' if folder.is_dir() else 'is not a folder'}. Give a folder of speech, music or "
            "noise, in any format."
        )
    whole = hold_out_files(files) if len(files) >= 5 else files
    pieces = [
        piece
        for file in whole
        for piece in _cut_file(file, cache, f"piece of at most {longest:g} s", partial(_divide, longest=longest))
    ]
    return pieces if any(piece.split == "val" for piece in pieces) else hold_out_files(pieces)


def list_audio(folder: Path) -> list[Path]:
    """List the audio files in a folder and below it, and say which other files are left out."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _is_hidden(path.relative_to(folder))]
    audio = [path for path in files if path.suffix.lower() in (*_PLAIN, *_OTHERS)]
    others = sorted(set(files) - set(audio))
    if others:
        shown = ", ".join(path.name for path in others[:3]) + (" ..." if len(others) > 3 else "")
        rank_zero_info(f"{folder}: {len(others)} files are no audio by their names ({shown}) and are left out.")
    return audio


def find_takes(samples: Waveform, longest: float = 3.0) -> list[Cut]:
    """Find the takes in a recording [samples] of 16 kHz: (start, stop) of each, in samples, with 50 ms around.

    What is audible for no more than `longest` seconds in all is one take. Longer, it is cut at pauses of 0.35 s, and pieces
    that are too short (0.15 s), too long, or more than 20 dB below the loudest are none.
    """
    start, stop = find_audible(samples, SAMPLE_RATE, margin=0.05)
    if stop - start <= (longest + 0.1) * SAMPLE_RATE:
        return [(start, stop)] if stop > start else []
    size = SAMPLE_RATE // 100
    level = np.sqrt(np.square(samples[: len(samples) // size * size].reshape(-1, size), dtype=np.float64).mean(1))
    # Above the hiss of the recording, which its quiet fifth shows, and audible beside its loudest moment.
    loud = np.flatnonzero(level >= max(level.max() / 50, min(3 * np.quantile(level, 0.2), level.max() / 4)))
    pieces = np.split(loud, np.flatnonzero(np.diff(loud) * size > _PAUSE * SAMPLE_RATE) + 1)
    margin = round(0.05 * SAMPLE_RATE)
    return [
        (max(0, int(piece[0]) * size - margin), min(len(samples), int(piece[-1] + 1) * size + margin))
        for piece in pieces
        if _SHORTEST <= (piece[-1] + 1 - piece[0]) / 100 <= longest and level[piece].max() >= level.max() / 10
    ]


def decode(path: Path) -> Waveform:
    """Read a recording of any format that soundfile or ffmpeg reads: float32 [samples] at 16 kHz, of one channel.

    Raises:
        DataError: it cannot be read, or needs ffmpeg, which is not installed.
    """
    if path.suffix.lower() not in _OTHERS:
        return (load(path).numpy() / np.float32(2**15)).astype(np.float32)
    program = shutil.which("ffmpeg")
    if program is None:
        raise DataError(
            f"{path}: files of the kind {path.suffix} are read by ffmpeg, which is not on the PATH. Install it (`apt install "
            "ffmpeg`, `brew install ffmpeg`), or save the recording as WAV."
        )
    options = (
        "-nostdin",
        "-v",
        "error",
        "-i",
        str(path),
        "-vn",
        "-ac",
        "1",
        "-ar",
        str(SAMPLE_RATE),
        "-f",
        "s16le",
        "-",
    )
    done = subprocess.run([program, *options], capture_output=True)
    if done.returncode or not done.stdout:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it holds no sound"]
        raise DataError(f"{path} cannot be read: ffmpeg says {said[0]!r}. Record it again, or save it as WAV.")
    return np.frombuffer(done.stdout, "<i2").astype(np.float32) / np.float32(2**15)


def _cut_file(file: Clip, cache: Path, how: str, find: Callable[[Waveform], Sequence[Cut]]) -> list[Clip]:
    """Cut a file into pieces, or take them from `cache`: a folder for each content and way to cut, there as a whole or not."""
    content = hashlib.sha256(file.path.read_bytes() + json.dumps([_FORM, how]).encode()).hexdigest()[:32]
    folder = cache / content
    if not folder.is_dir():
        samples = decode(file.path)
        if not samples.any():
            raise DataError(f"{file.path} is silent. Record it again, or take it out.")
        cuts = find(samples)
        if not cuts:
            raise DataError(
                f"{file.path}: no {how} was found in {len(samples) / SAMPLE_RATE:.1f} s. Leave half a second of quiet "
                "between the words, record in a quieter place, or take the file out."
            )
        cache.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=cache, prefix=".", suffix=".tmp"))
        for number, (start, stop) in enumerate(cuts):
            write_wav(made / f"{number:04d}.wav", samples[start:stop])
        try:
            os.rename(made, folder)
        except OSError:
            # Another run was first.
            shutil.rmtree(made)
            if not folder.is_dir():
                raise
    return [replace(file, path=path) for path in sorted(folder.glob("*.wav"))]


def _divide(samples: Waveform, longest: float) -> list[Cut]:
    """Divide a recording into pieces of equal length, none longer than `longest` seconds."""
    count = -(-len(samples) // round(longest * SAMPLE_RATE))
    edges = np.linspace(0, len(samples), count + 1).round().astype(int).tolist()
    return list(pairwise(edges))


def _hold_out(clips: list[Clip]) -> list[Clip]:
    if any(clip.split == "val" for clip in clips):
        return clips
    speakers = {clip.speaker for clip in clips} - {""}
    by_speaker = len(speakers) > 2 and all(clip.speaker for clip in clips)
    held = hold_out_speakers(clips) if by_speaker else hold_out_files(clips)
    count = sum(clip.split == "val" for clip in held)
    how = (
        "of whole speakers"
        if by_speaker
        else "every fifth of each word, so of speakers who are trained with too: figures on them are better than on others"
    )
    rank_zero_info(f"For validation {count} of {len(clips)} own takes are held out, {how}.")
    return held


def _name(folder: Path) -> str:
    return " ".join(folder.name.replace("_", " ").split())


def _speaker(path: Path, folder: Path) -> str:
    """Tell the speaker by the folder below the word's, or by a name as of Speech Commands, `speaker_nohash_0.wav`."""
    inner = path.relative_to(folder).parts[:-1]
    return inner[0] if inner else path.stem.partition("_nohash_")[0] if "_nohash_" in path.stem else ""


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
