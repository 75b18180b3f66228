"""Lists of recordings: an `index.csv`, or a folder for each word; and what is held out of them."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytorch_lightning.utilities import rank_zero_info

from lightning_esp.errors import DataError

# The names that people give to the three splits.
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "development"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_TRANSCRIPTS = ("transcript", "text", "sentence")
# Columns by which figures are told, beside the speaker.
_GROUPS = ("sex", "gender", "age", "accent", "distance", "room", "microphone", "device")
_AUDIO = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".opus")


@dataclass(frozen=True)
class Clip:
    """Recording on disk, its label and what is said in it where that is known; traits are pairs such as ("distance", "3 m")."""

    path: Path
    label: str
    speaker: str
    split: str
    traits: tuple[tuple[str, str], ...] = ()
    transcript: str = ""

    @property
    def groups(self) -> dict[str, str]:
        """Names of the groups that it is of, by kind."""
        return dict(self.traits) | ({"speaker": self.speaker} if self.speaker else {})


def read_index(root: Path) -> list[Clip]:
    """Read `root/index.csv`: columns path and label, and where they are known speaker, split, transcript, and sex, distance ...

    Commas, semicolons and tabs may stand between the columns, and paths are relative to `root`. Splits are train, val and
    test, or what these are called elsewhere (training, validation, dev, testing, eval ...); without them all clips are
    `train`, of which `hold_out` takes the others.

    Raises:
        DataError: a column is missing, a row lacks something, two rows name one file, a file is not there, or a split is
            none of these.
    """
    file = root / "index.csv"
    clips = [_read_row(root, line, row) for line, row in _read_rows(file)]
    if not clips:
        raise DataError(f"{file} lists no recordings; give a row for each.")
    twice = [str(path) for path, count in Counter(clip.path for clip in clips).items() if count > 1]
    _refuse(file, twice, "are listed more than once", "leave one row for each")
    _refuse(
        file, [str(c.path) for c in clips if not c.path.is_file()], "are not there", "correct the paths, or copy them"
    )
    spellings = Counter(label.lower() for label in {clip.label for clip in clips})
    mixed = sorted({clip.label for clip in clips if spellings[clip.label.lower()] > 1})
    _refuse(file, mixed, "differ in upper and lower case only, and would be different words", "write each one way")
    return clips


def _refuse(file: Path, wrong: Sequence[str], reason: str, remedy: str) -> None:
    if wrong:
        shown = ", ".join(wrong[:3]) + (" ..." if len(wrong) > 3 else "")
        raise DataError(f"{file}: {len(wrong)} entries {reason} ({shown}); {remedy}.")


def _read_rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and columns, by lower-case names, of every row."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{file} is not UTF-8; save it as CSV in UTF-8.") from None
    lines = text.splitlines()
    delimiter = max(",;\t", key=(lines[0] if lines else "").count)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    names = [name.strip().lower() for name in next(reader, [])]
    missing = [name for name in ("path", "label") if name not in names]
    if missing:
        raise DataError(
            f"{file} has no column {' and '.join(map(repr, missing))}; its first line names {names}. It must name path and "
            "label; speaker and split are of use."
        )
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield reader.line_num, dict(zip(names, (cell.strip() for cell in cells), strict=False))


def _read_row(root: Path, line: int, row: dict[str, str]) -> Clip:
    where = f"{root / 'index.csv'}, line {line}"
    for name in ("path", "label"):
        if not row.get(name):
            raise DataError(f"{where}: the {name} is empty; each row needs a path and a label.")
    split = row.get("split", "") or "train"
    if split.lower() not in _SPLITS:
        raise DataError(f"{where}: the split is {split!r}; it must be 'train', 'val' or 'test'.")
    # A spreadsheet on Windows writes backslashes.
    path = root / row["path"].replace("\\", "/")
    traits = tuple((name, row[name]) for name in _GROUPS if row.get(name))
    transcript = next((row[name] for name in _TRANSCRIPTS if row.get(name)), "")
    return Clip(path, row["label"], row.get("speaker", ""), _SPLITS[split.lower()], traits, transcript)


def has_word_folders(root: Path) -> bool:
    """Tell whether recordings lie in folders of their words, `root/yes/*.wav`."""
    return root.is_dir() and any(_list_audio(folder) for folder in root.iterdir() if folder.is_dir())


def read_word_folders(root: Path) -> list[Clip]:
    """List recordings by folder; the name of each is its label. `speaker_nohash_0.wav` tells the speaker, as in Speech Commands.

    Folders that begin with a dot are left out, and so is `_background_noise_`.
    """
    folders = [f for f in sorted(root.iterdir()) if f.is_dir() and f.name[0] != "." and f.name != "_background_noise_"]
    return [
        Clip(path, folder.name, path.stem.partition("_nohash_")[0] if "_nohash_" in path.stem else "", "train")
        for folder in folders
        for path in _list_audio(folder)
    ]


def _list_audio(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _AUDIO)


def hold_out_speakers(clips: list[Clip], split: str = "val", offset: int = 0) -> list[Clip]:
    """Give a set without a split one: all clips of every tenth training speaker, from `offset` on (or the last)."""
    if any(clip.split == split for clip in clips):
        return clips
    speakers = sorted({clip.speaker for clip in clips if clip.split == "train"})
    held = set(speakers[offset::10] or speakers[-1:])
    return _move(clips, split, lambda clip: clip.speaker in held)


def hold_out_files(clips: list[Clip], split: str = "val", every: int = 5) -> list[Clip]:
    """Give a set another split: every fifth (or so) training file of each label, in the order of paths; one at least of several."""
    held = set[Path]()
    for label in {clip.label for clip in clips}:
        paths = sorted(clip.path for clip in clips if clip.split == "train" and clip.label == label)
        held |= set(paths[every - 1 :: every] or paths[1:][-1:])
    return _move(clips, split, lambda clip: clip.path in held)


def without_phrases(clips: Sequence[Clip], phrases: Iterable[str]) -> list[Clip]:
    """Leave out recordings in which a phrase is said, by their label or transcript; says how many.

    One such recording among the negatives teaches that the phrase is none, and hard negatives are drawn most often.
    """
    wanted = [f" {spell(phrase)} " for phrase in phrases]
    kept = [
        clip for clip in clips if not any(each in f" {spell(clip.label)} {spell(clip.transcript)} " for each in wanted)
    ]
    if len(kept) < len(clips):
        rank_zero_info(
            f"In {len(clips) - len(kept)} of {len(clips)} recordings without keywords one is said; left out."
        )
    return kept


def spell(text: str) -> str:
    """Return the words of a label, a folder or a transcript in lower case, one blank between.

    Example:
        >>> spell("Hey_Robin, please!")
        'hey robin please'
    """
    return " ".join(re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower()))


def _move(clips: Iterable[Clip], split: str, held: Callable[[Clip], bool]) -> list[Clip]:
    return [replace(clip, split=split) if clip.split == "train" and held(clip) else clip for clip in clips]
