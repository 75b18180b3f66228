"""Moves of files of older bundles: their components had names that ESP-IDF's one space of names may hold twice."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from lightning_esp.bundle.bundle import COMPONENT

FORMER_COMPONENT = "components/model"

# Folders of `components/`, which are `lesp_...` now; `board` of each folder of `boards/` is so as well.
_FORMER = frozenset(("audio", "detector_settings", "listener", "model", "model_update", "streaming"))


def rename(name: str) -> str:
    """Return the path at which an export writes today what one of schema 1 wrote at `name`.

    Example:
        >>> rename("components/audio/src/wav_reader.cpp")
        'components/lesp_audio/src/wav_reader.cpp'
    """
    parts = name.split("/")
    index = _find_former(parts)
    if index is not None:
        parts[index] = f"lesp_{parts[index]}"
    return "/".join(parts)


def is_renamed(name: str, files: Container[str]) -> bool:
    """Tell whether the file at a path belongs elsewhere today, and none of the files of a bundle goes there."""
    return rename(name) != name and name not in files


def find_component(files: Iterable[str]) -> str:
    """Return the directory of the model in a bundle with these files."""
    folders = {"/".join(name.split("/")[:2]) for name in files}
    return FORMER_COMPONENT if FORMER_COMPONENT in folders and COMPONENT not in folders else COMPONENT


def former_folders(names: Iterable[str]) -> set[str]:
    """Return the folders of older components that hold these files.

    Example:
        >>> former_folders(["components/audio/src/wav_reader.cpp", "main/listen.cpp"])
        {'components/audio'}
    """
    split = [name.split("/") for name in names]
    return {"/".join(parts[: index + 1]) for parts in split if (index := _find_former(parts)) is not None}


def _find_former(parts: Sequence[str]) -> int | None:
    """Return which part of a path is the former name of a component."""
    if len(parts) > 2 and parts[0] == "components" and parts[1] in _FORMER:
        return 1
    return 2 if len(parts) > 3 and parts[0] == "boards" and parts[2] == "board" else None
