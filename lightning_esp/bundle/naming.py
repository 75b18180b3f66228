"""Names of generated files and symbols."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lightning_esp.bundle.bundle import COMPONENT


def make_identifiers(names: Sequence[str]) -> dict[str, str]:
    """Return a C++ identifier for each name: underscores for whatever an identifier cannot hold, a number if taken."""
    identifiers: dict[str, str] = {}
    for name in names:
        stem = re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_")
        stem = stem if stem[:1].isalpha() else f"stage_{stem}".rstrip("_")
        candidate, number = stem, 2
        while candidate in identifiers.values():
            candidate, number = f"{stem}_{number}", number + 1
        identifiers[name] = candidate
    return identifiers


def target_dir(target: str) -> str:
    """Directory of one chip's model inside the bundle."""
    return f"{COMPONENT}/{target}"


def stage_path(target: str, model: str, identifier: str) -> str:
    """Path of one stage's file. Its base name is a symbol of the firmware, so it starts with the model's name."""
    return f"{target_dir(target)}/{model}_{identifier}.espdl"


def partition_label(model: str, index: int) -> str:
    """Label of the partition of one stage's file, at most 16 characters."""
    return f"{model[:12]}_{index}"


def golden_path(target: str, model: str) -> str:
    """Path of the golden windows; its base name is a symbol, too."""
    return f"{target_dir(target)}/golden/{model}_golden.bin"


def audio_path(target: str, model: str) -> str:
    """Path of the samples and features of the first golden recordings."""
    return f"{target_dir(target)}/golden/{model}_audio.bin"


def readings_path(target: str, model: str) -> str:
    """Path of the raw readings of the first golden windows."""
    return f"{target_dir(target)}/golden/{model}_readings.bin"
