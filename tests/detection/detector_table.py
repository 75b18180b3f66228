"""Reads and writes the table of detector cases that the Python and the C++ tests share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lightning_esp.detection import DetectorSettings

TABLE = Path(__file__).with_name("detector_cases.txt")


@dataclass
class Case:
    name: str
    settings: DetectorSettings
    scores: list[list[float]] = field(default_factory=list)
    events: list[tuple[int, int]] = field(default_factory=list)


def read_cases(path: Path = TABLE) -> list[Case]:
    cases: list[Case] = []
    for line in path.read_text().splitlines():
        kind, *values = line.split() or ["#"]
        if kind == "case":
            average, minimum, refractory, retrigger = map(int, values[1:5])
            thresholds = tuple(map(float, values[5:]))
            settings = DetectorSettings(thresholds, average, minimum, refractory, retrigger=bool(retrigger))
            cases.append(Case(values[0], settings))
        elif kind == "frame":
            cases[-1].scores.append(list(map(float, values)))
        elif kind == "event":
            cases[-1].events.append((int(values[0]), int(values[1])))
        else:
            assert kind.startswith("#"), line
    return cases


def write_cases(path: Path, cases: Iterable[Case]) -> None:
    lines: list[str] = []
    for case in cases:
        settings = case.settings
        lines.append(
            f"case {case.name} {settings.average} {settings.minimum} {settings.refractory} {int(settings.retrigger)} "
            f"{_text(settings.thresholds)}"
        )
        lines += [f"frame {_text(scores)}" for scores in case.scores]
        lines += [f"event {frame} {label}" for frame, label in case.events]
    path.write_text("\n".join(lines) + "\n")


def _text(values: Sequence[float]) -> str:
    return " ".join(f"{np.float32(value):.9g}" for value in values)
