"""Pictures as inline SVG, drawn with the colours of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lightning_esp.bundle.report.markup import Markup, join, number, tag

WIDTH, LABEL = 860, 130
# Above a matrix, for the titles of its axes.
AXES = 26


def softmax(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """Scores of `[channels][frames]` that add up to 1 in each frame."""
    columns = []
    for column in zip(*rows, strict=True):
        top = max(column)
        powers = [math.exp(value - top) for value in column]
        columns.append([value / sum(powers) for value in powers])
    return [list(row) for row in zip(*columns, strict=True)]


def draw_streams(
    names: Sequence[str],
    floating: Sequence[Sequence[float]],
    integer: Sequence[Sequence[float]],
    starts: Sequence[int],
    period: float | None,
    events: Mapping[str, Sequence[Sequence[int]]] | None = None,
    most: int = 8,
) -> Markup:
    """Draw one lane for each channel: float as an area, integers as a line over it.

    Args:
        names: of the channels.
        floating: `[channels][frames]`.
        integer: the same.
        starts: frames at which a recording starts.
        period: seconds from frame to frame, or None.
        events: under `float` and `integer`, frame and channel of what a detector found.
        most: lanes to draw: those that rise highest.
    """
    order = sorted(range(len(names)), key=lambda i: -max(*floating[i], *integer[i]))[:most]
    chosen, frames, height = sorted(order), len(floating[0]), 46
    low = min(0.0, *(min(*floating[i], *integer[i]) for i in chosen))
    high = max(*(max(*floating[i], *integer[i]) for i in chosen), low + 1e-9)
    span, bottom = WIDTH - LABEL - 10, len(chosen) * height
    lanes = []
    for lane, index in enumerate(chosen):
        base = (lane + 1) * height - 4

        def place(values: Sequence[float], base: int = base) -> list[str]:
            return [
                f"{LABEL + span * frame / max(1, frames - 1):.1f},{base - (value - low) / (high - low) * (height - 10):.1f}"
                for frame, value in enumerate(values)
            ]

        area = f"{LABEL},{base} {' '.join(place(floating[index]))} {LABEL + span},{base}"
        lanes += [
            tag("polygon", points=area, class_="float-area"),
            tag("polyline", points=" ".join(place(integer[index])), class_="stream"),
            tag("line", x1=LABEL, y1=base, x2=LABEL + span, y2=base, class_="axis"),
            tag("text", names[index], x=LABEL - 10, y=base - 10, text_anchor="end"),
        ]
    lanes += [
        _draw_event(
            f"{names[channel]}, {kind}", kind, LABEL + span * frame / max(1, frames - 1), chosen.index(channel) * height
        )
        for kind in ("float", "integer")
        for frame, channel in (events or {}).get(kind, ())
        if channel in chosen
    ]
    cuts = [LABEL + span * start / max(1, frames - 1) for start in starts[1:]]
    lanes += [tag("line", x1=f"{x:.1f}", y1=0, x2=f"{x:.1f}", y2=bottom, class_="cut") for x in cuts]
    length = f"{frames * period:.3g} s" if period else f"{frames} frames"
    lanes.append(tag("text", length, x=LABEL + span, y=bottom + 16, text_anchor="end", class_="soft"))
    return picture(bottom + 22, f"Outputs over {length}, float and integers", join(lanes))


def _draw_event(title: str, kind: str, x: float, y: int) -> Markup:
    points = f"{x - 5:.1f},{y + 2} {x + 5:.1f},{y + 2} {x:.1f},{y + 10}"
    return tag("polygon", tag("title", title), points=points, class_=f"event {kind}")


def draw_load(stages: Sequence[Mapping[str, object]], window: int, period_us: float | None) -> Markup:
    """Draw the frame steps of a window: which stage runs in each, and how long.

    Args:
        stages: with `name` and `microseconds`.
        window: frames of a window.
        period_us: microseconds from frame to frame, or None.
    """
    times = [float(str(stage["microseconds"])) for stage in stages]
    longest, height, shown = max(*times, 1e-9), 30, min(window, max(len(stages) + 2, 4))
    span, parts = WIDTH - LABEL - 380, []
    for step in range(shown):
        y = step * height
        parts.append(tag("text", f"frame step {step + 1}", x=LABEL - 10, y=y + 19, text_anchor="end"))
        if step < len(times):
            wide = max(2.0, span * times[step] / longest)
            share = "" if not period_us else f", {100 * times[step] / period_us:.2g} % of the frame period"
            told = f"{stages[step]['name']}: about {number(times[step])} µs{share}"
            parts.append(tag("rect", x=LABEL, y=y + 5, width=f"{wide:.1f}", height=height - 10, rx=3, class_="bar"))
            parts.append(tag("text", told, x=f"{LABEL + wide + 8:.1f}", y=y + 19))
        else:
            parts.append(tag("rect", x=LABEL, y=y + 5, width=40, height=height - 10, rx=3, class_="idle"))
            parts.append(tag("text", "idle", x=LABEL + 48, y=y + 19, class_="soft"))
    return picture(shown * height + 4, "Load of each frame step", join(parts))


def draw_matrix(
    labels: Sequence[str],
    counts: Sequence[Sequence[int]],
    axes: tuple[str, str],
    others: Sequence[Sequence[int]] = (),
) -> Markup:
    """Draw a confusion matrix.

    Args:
        labels: names of the classes.
        counts: `[rows][columns]`; a cell is as dark as its share of the row.
        axes: what the rows are, and what the columns are.
        others: counts of another network, told where one points at a cell.
    """
    cell, parts = min(46, (WIDTH - LABEL) // max(1, len(labels))), _name_axes(axes)
    top, bottom = AXES, AXES + len(labels) * cell
    for row, line in enumerate(counts):
        total = max(1, sum(line))
        parts.append(tag("text", labels[row], x=LABEL - 8, y=top + (row + 0.5) * cell + 4, text_anchor="end"))
        place = f"translate({LABEL + (row + 0.5) * cell:g} {bottom + 10:g}) rotate(40)"
        parts.append(tag("text", labels[row], transform=place))
        for column, count in enumerate(line):
            x, y = LABEL + column * cell, top + row * cell
            told = f"{labels[row]} as {labels[column]}: {number(count)} of {number(total)}"
            told += f"; float {number(others[row][column])}" if others else ""
            shade = {"class_": "heat", "fill_opacity": f"{0.06 + 0.44 * count / total:.3f}"}
            parts.append(tag("rect", tag("title", told), x=x, y=y, width=cell - 2, height=cell - 2, **shade))
            if count and cell >= 24:
                middle = {"x": x + cell / 2 - 1, "y": y + cell / 2 + 4, "text_anchor": "middle"}
                parts.append(tag("text", _short(count), **middle, class_="count"))
    longest = max((len(label) for label in labels), default=0)
    return picture(bottom + 22 + 5 * longest, "Confusion matrix", join(parts))


def _name_axes(axes: tuple[str, str]) -> list[Markup]:
    """Titles of rows and columns, above the matrix."""
    return [
        tag("text", f"{axes[0]} ↓", x=LABEL - 8, y=AXES - 10, text_anchor="end", class_="soft"),
        tag("text", f"{axes[1]} →", x=LABEL, y=AXES - 10, class_="soft"),
    ]


def _short(count: int) -> str:
    return str(count) if count < 10_000 else f"{count / 1000:.0f}k"


def draw_bar(share: float, mark: float | None = None) -> Markup:
    """A bar inside a table, both arguments as shares of its length."""
    inside = [tag("rect", x=0, y=3, width=f"{max(0.0, min(1.0, share)) * 120:.1f}", height=8, rx=2, class_="bar")]
    if mark is not None:
        x = f"{max(0.0, min(1.0, mark)) * 120:.1f}"
        inside.append(tag("line", x1=x, y1=1, x2=x, y2=13, class_="tick"))
    return tag("svg", *inside, width=122, height=14, viewBox="0 0 122 14", aria_hidden="true")


def picture(height: float, title: str, content: Markup) -> Markup:
    """An SVG of the width of the page, with a title for those who cannot see it."""
    return tag(
        "svg",
        tag("title", title),
        content,
        viewBox=f"0 0 {WIDTH} {height:g}",
        width=WIDTH,
        role="img",
        aria_label=title,
    )
