"""Pictures of a detector on streams: trade-off curves, and scores over a stretch of a recording."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightning_esp.bundle.report.markup import Markup, join, number, tag
from lightning_esp.bundle.report.pictures import LABEL, WIDTH, picture

LEFT, RIGHT, TOP, HEIGHT, GAP = 60, 250, 10, 240, 40
LANE = 46


def draw_det(curves: Mapping[str, Mapping[str, Any]], points: Mapping[str, tuple[float, float]]) -> Markup:
    """Draw detection error trade-offs: false accepts per hour, logarithmic with a place for none, against misses.

    Args:
        curves: by name, with `thresholds`, `false_accepts` per hour and `false_rejects` (shares); the last one is drawn
            on top.
        points: false accepts per hour and share of misses of the chosen detector, by the same names.
    """
    rates = [rate for curve in curves.values() for rate in curve["false_accepts"]] + [p[0] for p in points.values()]
    axis = _RateAxis([rate for rate in rates if rate > 0])
    parts = [*axis.draw(), *_shares()]
    for index, (name, curve) in enumerate(curves.items()):
        kind = f"line{index}"
        pairs = list(zip(curve["thresholds"], curve["false_accepts"], curve["false_rejects"], strict=True))
        path = " ".join(f"{axis.place(rate):.1f},{_height(missed):.1f}" for _, rate, missed in pairs)
        parts.append(tag("polyline", points=path, class_=f"det {kind}"))
        if index == len(curves) - 1:
            parts += _dots(name, pairs, axis)
        parts += _legend(name, index)
    for index, name in enumerate(curves):
        if name in points:
            rate, missed = points[name]
            told = f"{name}, chosen detector: {number(rate)} false accepts per hour, {100 * missed:.1f} % missed"
            spot = {"cx": f"{axis.place(rate):.1f}", "cy": f"{_height(missed):.1f}"}
            parts.append(tag("circle", tag("title", told), **spot, r=6 - index, class_=f"chosen line{index}"))
    return picture(TOP + HEIGHT + GAP + 8, "Detection error trade-off", join(parts))


def _height(share: float) -> float:
    return TOP + HEIGHT * (1 - share)


def _shares() -> Iterator[Markup]:
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = f"{_height(share):.1f}"
        yield tag("line", x1=LEFT, y1=y, x2=WIDTH - RIGHT, y2=y, class_="axis")
        yield tag("text", f"{100 * share:.0f} %", x=LEFT - 8, y=f"{_height(share) + 4:.1f}", text_anchor="end")
    yield tag("text", "missed", x=LEFT - 8, y=f"{_height(0.875) + 4:.1f}", text_anchor="end", class_="soft")


def _legend(name: str, index: int) -> list[Markup]:
    x, y = WIDTH - RIGHT + 24, TOP + 14 + 22 * index
    return [
        tag("line", x1=x, y1=y, x2=x + 26, y2=y, class_=f"det line{index}"),
        tag("text", name, x=x + 34, y=y + 4),
    ]


def _dots(name: str, pairs: Sequence[tuple[float, float, float]], axis: _RateAxis) -> Iterator[Markup]:
    """One spot to point at for each place of the curve; the highest threshold of those that lie there."""
    found = {(rate, missed): threshold for threshold, rate, missed in pairs}
    for (rate, missed), threshold in found.items():
        told = f"{name}, threshold {threshold:.2f}: {number(rate)} false accepts per hour, {100 * missed:.1f} % missed"
        spot = {"cx": f"{axis.place(rate):.1f}", "cy": f"{_height(missed):.1f}"}
        yield tag("circle", tag("title", told), **spot, r=5, class_="spot")


class _RateAxis:
    """False accepts per hour: none at the left, then decades."""

    def __init__(self, rates: Sequence[float]) -> None:
        self._low = math.floor(math.log10(min(rates))) if rates else 0
        self._high = max(self._low + 1, math.ceil(math.log10(max(rates)))) if rates else 1

    def place(self, rate: float) -> float:
        """Return the horizontal position of a rate."""
        if rate <= 0:
            return LEFT
        start, end = LEFT + GAP, WIDTH - RIGHT
        return start + (end - start) * (math.log10(rate) - self._low) / (self._high - self._low)

    def draw(self) -> Iterator[Markup]:
        """Lines of the decades and their names."""
        bottom = TOP + HEIGHT
        for rate in (0.0, *(10.0**power for power in range(self._low, self._high + 1))):
            x = f"{self.place(rate):.1f}"
            yield tag("line", x1=x, y1=TOP, x2=x, y2=bottom, class_="axis")
            yield tag("text", number(rate), x=x, y=bottom + 18, text_anchor="middle")
        middle = (LEFT + WIDTH - RIGHT) / 2
        yield tag("text", "false accepts per hour", x=middle, y=bottom + 38, text_anchor="middle", class_="soft")


def draw_stretch(stretch: Mapping[str, Any], labels: Sequence[str], most: int = 8) -> Markup:
    """Draw the scores of two networks over a stretch of a recording, one lane for each class.

    Args:
        stretch: as `lightning_esp.detection` makes it: `seconds`, `keywords`, `thresholds`, `scores` and `events` under
            `float_streamed` and `integer`.
        labels: names of the classes.
        most: lanes to draw: classes that are said or found first, then those that score highest.
    """
    floating, integer = stretch["scores"]["float_streamed"], stretch["scores"]["integer"]
    found = {label for _, _, label in stretch["keywords"]}
    found |= {label for events in stretch["events"].values() for _, label in events}
    ranked = sorted(range(len(labels)), key=lambda i: (labels[i] not in found, -max(integer[i])))
    chosen, seconds = sorted(ranked[:most]), stretch["seconds"]
    span, bottom = WIDTH - LABEL - 10, len(chosen) * LANE
    parts: list[Markup] = []
    for lane, index in enumerate(chosen):
        base = (lane + 1) * LANE - 4
        said = [k for k in stretch["keywords"] if k[2] == labels[index]]
        parts += [_span(start, end, label, base, span / seconds) for start, end, label in said]
        area = f"{LABEL},{base} {_path(floating[index], base, span)} {LABEL + span},{base}"
        parts += [
            tag("polygon", points=area, class_="float-area"),
            tag("polyline", points=_path(integer[index], base, span), class_="stream"),
            tag("line", x1=LABEL, y1=base, x2=LABEL + span, y2=base, class_="axis"),
            tag("text", labels[index], x=LABEL - 10, y=base - 10, text_anchor="end"),
            *_threshold(stretch["thresholds"][index], labels[index], base, span),
        ]
    lanes = {labels[index]: lane for lane, index in enumerate(chosen)}
    for kind, name in (("float", "float_streamed"), ("integer", "integer")):
        events = [event for event in stretch["events"][name] if event[1] in lanes]
        parts += [_event(time, label, kind, lanes[label] * LANE, span / seconds) for time, label in events]
    parts += _seconds(seconds, bottom, span)
    return picture(bottom + 22, f"Scores over {seconds:g} s of a validation stream, float and integers", join(parts))


def _path(values: Sequence[float], base: int, span: int) -> str:
    step = span / max(1, len(values) - 1)
    return " ".join(f"{LABEL + step * i:.1f},{base - max(0.0, min(1.0, v)) * 36:.1f}" for i, v in enumerate(values))


def _span(start: float, end: float, label: str, base: int, scale: float) -> Markup:
    told = tag("title", f"{label} is said, {start:.2f} to {end:.2f} s")
    place = {"x": f"{LABEL + scale * start:.1f}", "width": f"{scale * (end - start):.1f}"}
    return tag("rect", told, **place, y=base - 38, height=38, class_="said")


def _threshold(threshold: float | None, label: str, base: int, span: int) -> list[Markup]:
    if threshold is None or not 0 <= threshold <= 1:
        return []
    y = f"{base - 36 * threshold:.1f}"
    told = tag("title", f"threshold of {label}: {threshold:g}")
    return [tag("line", told, x1=LABEL, y1=y, x2=LABEL + span, y2=y, class_="threshold")]


def _event(time: float, label: str, kind: str, top: int, scale: float) -> Markup:
    x = LABEL + scale * time
    told = tag("title", f"{label} found at {time:.2f} s, {'float' if kind == 'float' else 'integers'}")
    points = f"{x - 5:.1f},{top + 1} {x + 5:.1f},{top + 1} {x:.1f},{top + 9}"
    return tag("polygon", told, points=points, class_=f"event {kind}")


def _seconds(seconds: float, bottom: int, span: int) -> Iterator[Markup]:
    step = next(s for s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0) if seconds / s <= 10 or s == 60.0)
    for index in range(int(seconds / step) + 1):
        x = LABEL + span * index * step / seconds
        end = {"text_anchor": "end"} if x > LABEL + span - 12 else {"text_anchor": "middle"}
        yield tag("text", f"{index * step:g} s", x=f"{x:.1f}", y=bottom + 16, class_="soft", **end)
