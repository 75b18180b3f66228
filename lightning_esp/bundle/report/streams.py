"""Results of the networks on validation streams: a table and two pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_esp.bundle.report.curves import draw_det, draw_stretch
from lightning_esp.bundle.report.markup import Markup, figure, join, number, table, tag

NAMES = {"float_offline": "float, offline", "float_streamed": "float, streamed", "integer": "integers"}

# Rows of a table of groups; a set has hundreds of speakers.
MOST_GROUPS = 20

MINUS = "\u2212"


def render_listening(stream_evaluation: Mapping[str, Any] | None) -> Markup:
    """Return the section about `listening` of a target in `report.json`; nothing where it has none."""
    if not stream_evaluation:
        return Markup("")
    networks = {name: stream_evaluation["networks"][name] for name in NAMES if name in stream_evaluation["networks"]}
    parts: list[object] = [
        tag("h3", "Validation streams"),
        tag("p", _introduce(stream_evaluation)),
        _rates(networks, stream_evaluation),
        _groups(networks["integer"]["missed_by_group"]),
    ]
    curves = {NAMES[name]: found["det"] for name, found in networks.items() if found["det"]}
    if curves:
        chosen = {NAMES[n]: (f["false_accepts"]["per_hour"], f["false_rejects"]) for n, f in networks.items()}
        parts.append(figure(draw_det(curves, chosen), _tell_curve(networks)))
    parts.append(
        figure(
            draw_stretch(stream_evaluation["snippet"], stream_evaluation["labels"]), _tell_stretch(stream_evaluation)
        )
    )
    return join(parts)


def list_tiles(stream_evaluation: Mapping[str, Any] | None) -> list[tuple[str, str, str]]:
    """Return name, figure and note of what the verdict tells of it."""
    if not stream_evaluation:
        return []
    networks = stream_evaluation["networks"]
    found, floating = networks["integer"], networks["float_offline"]
    accepts = found["false_accepts"]
    hours = f"{accepts['count']} in {number(accepts['hours'], 3)} h, 95 % bound {number(accepts['bound'], 3)}"
    tiles = [("false accepts per hour", number(accepts["per_hour"], 3), hours)]
    if found["false_rejects"] is not None:
        share = f"{100 * found['false_rejects']:.1f} %"
        tiles.append(
            ("keywords missed", share, f"of {found['keywords']}; float {100 * floating['false_rejects']:.1f} %")
        )
    return tiles


def _introduce(stream_evaluation: Mapping[str, Any]) -> str:
    found, detector = stream_evaluation["networks"]["integer"], stream_evaluation["detector"]
    hours, count, period = (
        found["false_accepts"]["hours"],
        stream_evaluation["streams"],
        stream_evaluation["frame_period"],
    )
    again = stream_evaluation["repeated"]
    repeated = f" {100 * again:.0f} % of their speech repeats." if again else ""
    frames = [f"mean of {detector['average']} frames ({detector['average'] * period * 1000:g} ms)"]
    frames.append(f"{detector['minimum']} in a row over the threshold")
    frames.append(f"{detector['refractory']} at rest after an event ({detector['refractory'] * period * 1000:g} ms)")
    late = stream_evaluation["stream_delay"]
    delay = f" On the chip a frame's scores come up to {late * 1000:g} ms after it." if late else ""
    return (
        f"The same {count} validation stream{'s' if count != 1 else ''}, {number(hours, 3)} hours with {found['keywords']} "
        f"keywords, through all networks and one detector: {', '.join(frames)}.{repeated}{delay}"
    )


def _rates(networks: Mapping[str, Any], stream_evaluation: Mapping[str, Any]) -> Markup:
    rows = []
    for name, found in networks.items():
        accepts, latency = found["false_accepts"], found["latency"]
        missed = "–" if found["false_rejects"] is None else f"{found['missed']} ({100 * found['false_rejects']:.1f} %)"
        rows.append(
            [
                tag("span", NAMES[name], class_="whole"),
                f"{number(accepts['per_hour'], 3)} ({accepts['count']})",
                number(accepts["bound"], 3),
                missed,
                "–" if found["false_rejects"] is None else str(found["confused"]),
                f"{_milliseconds(latency['median'])} / {_milliseconds(latency['p95'])} ms" if latency else "–",
                number(found["det_area"], 3),
                "–" if found["recall"] is None else f"{100 * found['recall']:.1f} %",
            ]
        )
    rate = number(stream_evaluation["max_false_accepts_per_hour"])
    header = [
        "network",
        "false accepts per hour",
        "95 % bound",
        "missed",
        "taken for another",
        "latency, 50\u00a0/\u00a095\u00a0%",
        "DET area",
    ]
    caption = "A false accept answers no keyword at all. Latency counts from the end of a word to its event. DET area: mean share of misses up to 10 false accepts per hour."
    if stream_evaluation["chosen"]:
        caption += " Thresholds were chosen with the integers on these streams, so these figures flatter them; the curves do not."
    return table(caption, [*header, f"found at {rate} per hour"], rows, (1, 2, 3, 4, 5, 6, 7))


def _groups(missed_by_group: Mapping[str, Mapping[str, Sequence[int]]]) -> Markup:
    """Those of which most is missed; nothing where the keywords have no groups."""
    found = [(kind, name, n, of) for kind, names in missed_by_group.items() for name, (n, of) in names.items()]
    if not found:
        return Markup("")
    found.sort(key=lambda row: (-row[2] / row[3], -row[3], row[:2]))
    rows = [[kind, name, f"{missed} of {of}", f"{100 * missed / of:.1f} %"] for kind, name, missed, of in found]
    shown = f"{MOST_GROUPS} of {len(found)}" if len(found) > MOST_GROUPS else "all"
    caption = f"Keywords missed by group, integers; {shown}, most missed first. Few keywords tell little of a group."
    return table(caption, ["group", "", "missed", "share"], rows[:MOST_GROUPS], (2, 3))


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}".replace("-", MINUS)


def _tell_curve(networks: Mapping[str, Any]) -> str:
    hours = networks["integer"]["false_accepts"]["hours"]
    return (
        "Detection error trade-off, all classes at one threshold that goes from 0.01 to 0.99; rings: the detector of the "
        f"bundle, with a threshold for each class. One false accept in {number(hours, 3)} hours is "
        f"{number(1 / hours, 3)} per hour, so left of that the curve knows nothing."
    )


def _tell_stretch(stream_evaluation: Mapping[str, Any]) -> str:
    stretch = stream_evaluation["snippet"]
    return (
        f"Stream {stretch['stream'] + 1} from {stretch['start']:.0f} s on: scores as the detector compares them with its "
        "thresholds (dashed). Grey area: float; line: integers; shaded: the word is said. Triangles: events, open in float "
        "and filled in integers."
    )
