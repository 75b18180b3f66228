"""Keywords of a long recording, and the events that found them."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from lightning_esp.detection.detector import Event
from lightning_esp.errors import DataError
from lightning_esp.options import check_types

_COLUMNS = ("start", "end", "label")


@dataclass(frozen=True)
class Keyword:
    """A keyword in a recording.

    Args:
        start: seconds from the start of the recording.
        end: seconds from the start of the recording.
        label: what is said.
        groups: what the figures are also given by, such as `{"speaker": "anna", "distance": "3 m"}`.
    """

    start: float
    end: float
    label: str
    groups: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        check_types(self)
        if not (0 <= self.start <= self.end < math.inf and self.label):
            raise DataError(f"{self} must have a label, and end, at a finite time, after it starts, at 0 or later.")


@dataclass(frozen=True)
class Matching:
    """Match of events with keywords.

    Args:
        hits: the event that found each keyword, by the position of the keyword.
        false_accepts: events that came when no other keyword was said, or a second time for the same one.
        latencies: seconds from the end of each keyword found to its event; negative where the event came earlier.
        confusions: events that took one keyword for another.
    """

    hits: dict[int, Event]
    false_accepts: tuple[Event, ...]
    latencies: tuple[float, ...]
    confusions: tuple[Event, ...] = ()


def read_keywords(path: str | PathLike[str]) -> list[Keyword]:
    """Read a CSV file with the columns start, end (seconds) and label; further columns are groups.

    Raises:
        DataError: a column is missing, a time is not a number, or a keyword ends before it starts.
    """
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = [_read_row(Path(path).name, number, row) for number, row in enumerate(rows, start=2)]
    return sorted(found, key=lambda keyword: keyword.start)


def _read_row(name: str, line: int, row: dict[str, str]) -> Keyword:
    try:
        groups = {kind: name for kind, name in row.items() if kind not in _COLUMNS and kind and name}
        keyword = Keyword(float(row["start"]), float(row["end"]), row["label"], groups)
    except (KeyError, TypeError, ValueError, DataError) as error:
        raise DataError(
            f"{name}, line {line}: {row} is no keyword; give the columns start, end (seconds) and label."
        ) from error
    if not 0 <= keyword.start < keyword.end:
        raise DataError(f"{name}, line {line}: {row} ends before it starts; times are seconds from the start.")
    return keyword


def match_events(
    events: Sequence[Event],
    keywords: Sequence[Keyword],
    labels: Sequence[str],
    frame_period: float,
    grace: float = 0.5,
) -> Matching:
    """Give every keyword the first event of its class that comes in time.

    Args:
        events: what the detector found in one recording.
        keywords: what is said in it.
        labels: names of the classes; keywords with other labels are not expected to be found.
        frame_period: seconds of an output frame; an event happens at the end of its frame.
        grace: seconds behind the end of a keyword in which an event still counts.

    Returns:
        The matching. A false accept is an answer to nothing, and its rate holds for audio without keywords; a confusion
        is an answer to another keyword, and depends on how many are said.

    Example:
        >>> keywords = [Keyword(1.0, 1.5, "yes")]
        >>> found = match_events([Event(159, 0, 0.9), Event(500, 0, 0.8)], keywords, ["yes"], 0.01)
        >>> [round(latency, 2) for latency in found.latencies], len(found.false_accepts)
        ([0.1], 1)
    """
    hits: dict[int, Event] = {}
    wrong: list[Event] = []
    confused: list[Event] = []
    for event in events:
        time = (event.frame + 1) * frame_period
        fitting = (
            number
            for number, keyword in enumerate(keywords)
            if number not in hits
            and keyword.label == labels[event.label]
            and keyword.start <= time <= keyword.end + grace
        )
        number = next(fitting, None)
        if number is not None:
            hits[number] = event
        elif any(
            keyword.label != labels[event.label] and keyword.start <= time <= keyword.end + grace
            for keyword in keywords
        ):
            confused.append(event)
        else:
            wrong.append(event)
    latencies = tuple((event.frame + 1) * frame_period - keywords[number].end for number, event in hits.items())
    return Matching(hits, tuple(wrong), latencies, tuple(confused))
