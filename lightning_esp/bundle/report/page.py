"""`render_report`: the page, section by section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_esp.bundle.report.markup import Markup, figure, join, number, size, table, tag
from lightning_esp.bundle.report.memory import list_memory_tiles, render_memory
from lightning_esp.bundle.report.pictures import draw_bar, draw_load, draw_matrix, draw_streams, softmax
from lightning_esp.bundle.report.precision_search import render_precision_search
from lightning_esp.bundle.report.ranges import render_states, render_worst_ranges
from lightning_esp.bundle.report.streams import list_tiles, render_listening

Data = Mapping[str, Any]

AMBER = "amber"
_STATES = {"green": ("holds", "good"), AMBER: ("amber", "fair"), "failed": ("FAILED", "bad")}


def render_report(manifest: Data, report: Data) -> bytes:
    """Return one self-contained HTML page, the same bytes for the same figures.

    Args:
        manifest: content of `manifest.json`; `files` is not needed.
        report: content of `report.json`.
    """
    title = f"{manifest['name']}: streaming model for {', '.join(_chip(t) for t in manifest['targets'])}"
    body = [tag("header", tag("h1", title), _verdict(manifest, report)), _model(manifest, report)]
    for target in manifest["targets"]:
        body.append(_target(target, manifest, report))
    body += [_proofs(manifest), _versions(manifest, report)]
    style = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        tag("title", title),
        '<link rel="icon" href="data:,">',
        f"<style>\n{style}</style>",
    )
    page = tag("html", Markup(f"<head>{''.join(head)}</head>"), tag("body", tag("main", *body)), lang="en")
    return f"<!DOCTYPE html>\n{page}\n".encode()


def _verdict(manifest: Data, report: Data) -> Markup:
    proofs = manifest["proofs"]
    held = sum(proof["passed"] for proof in proofs)
    passed = held == len(proofs)
    doubts = [
        f"{_chip(proof['target'])}, {proof['name']}: {proof['doubt']}" for proof in proofs if _state(proof) == AMBER
    ]
    advice = "look at what is amber before you flash it." if doubts else "the model can be flashed."
    sentence = f"{held} of {len(proofs)} proofs hold{f', {len(doubts)} of them amber' if doubts else ''}. " + (
        f"The files compute, value for value, what was verified; {advice}" if passed else "Do not flash it."
    )
    parts: list[object] = [tag("p", tag("strong", sentence))]
    if doubts:
        parts.append(tag("ul", *(tag("li", doubt) for doubt in doubts), class_="fair"))
    for target in manifest["targets"]:
        parts.append(_tiles(target, manifest, report))
    return tag("div", *parts, class_="verdict failed" if not passed else "verdict amber" if doubts else "verdict")


def _tiles(target: str, manifest: Data, report: Data) -> Markup:
    entry, streaming, budget = manifest["targets"][target], manifest["streaming"], manifest.get("budget") or {}
    estimate, tiles = entry.get("estimate"), []
    deltas = _deltas(manifest, target)
    shown = [row for row in deltas if "loss" not in row[0]]
    for name, floating, integer in shown[:2]:
        tiles.append((name, number(integer), f"float {number(floating)}, {_signed(integer - floating)}"))
    tiles += list_tiles(report["targets"][target].get("stream_evaluation"))
    if estimate is not None:
        tiles.append(("costliest frame step", _time(estimate["step_us"]), _against(estimate, streaming, budget)))
        tiles += list_memory_tiles(estimate, budget)
    rows = [tag("div", tag("dt", name), tag("dd", value, tag("small", note))) for name, value, note in tiles]
    heading = tag("h3", f"{_chip(target)}, {entry['precision']}")
    return join([heading, tag("dl", *rows, class_="tiles") if rows else ""])


def _against(estimate: Data, streaming: Data, budget: Data) -> str:
    step, period = estimate["step_us"], streaming.get("frame_period")
    if step is None:
        return "no public figures for this chip"
    if budget.get("step_us"):
        return f"of {number(budget['step_us'])} µs allowed; an estimate"
    return f"{100 * step / (period * 1e6):.2g} % of a frame; an estimate" if period else "an estimate"


def _time(microseconds: float | None) -> str:
    return "unknown" if microseconds is None else f"≈ {number(microseconds)} µs"


def _deltas(manifest: Data, target: str) -> list[tuple[str, float, float]]:
    floating, integer = manifest["metrics"]["float"], manifest["metrics"]["quantized"].get(target, {})
    pairs = [(name, value, integer.get(name)) for name, value in sorted(floating.items())]
    return [(name, a, b) for name, a, b in pairs if not isinstance(a, str) and isinstance(b, int | float)]


def _signed(value: float) -> str:
    return "no change" if abs(value) < 5e-5 else f"{value:+.4f}".replace("-", "\u2212")


def _clip(streaming: Data, period: float | None) -> list[str]:
    """Describe the clips on which a model decides."""
    clip = streaming.get("clip")
    if clip is None:
        return []
    form = (
        "The whole network runs on each clip."
        if clip["form"] == "sliding"
        else f"Layers run frame by frame, and the frames of the clip are held for {', '.join(clip['held'])}."
    )
    if clip.get("lookahead"):
        form += f" It waits for {_frames(clip['lookahead'], period)} behind the clip."
    return [f"It decides on the last {_frames(clip['frames'], period)}, every {_frames(clip['hop'], period)}. {form}"]


def _choice(streaming: Data) -> list[str]:
    """Describe the choice of a window by its latency, and the options compared."""
    choice = streaming.get("choice")
    if choice is None:
        return []
    told = [
        f"{option['window']} ({option['latency'] * 1000:.1f} ms"
        + ("" if option["frame_us"] is None else f", about {option['frame_us']:.0f} us a frame")
        + ")"
        for option in choice["options"]
    ]
    allowed = f"{choice['latency'] * 1000:g} ms"
    return [
        f"The window was chosen for a latency of {allowed}, by the costs of an {choice['chip']}, among {', '.join(told)}."
    ]


def _model(manifest: Data, report: Data) -> Markup:
    streaming = manifest["streaming"]
    first = next(iter(manifest["targets"]))
    period = streaming["frame_period"]
    facts = [
        f"A window holds {_frames(streaming['window'], period)}; the output trails the input by {streaming['delay']} output frames.",
        f"The receptive field is {_frames(streaming['receptive_field'], period)}."
        if streaming["receptive_field"]
        else "",
    ]
    facts += _choice(streaming) + _clip(streaming, period)
    flow = report["targets"][first].get("analysis", {}).get("flow", [])
    stages = [_stage(index, stage, flow, manifest) for index, stage in enumerate(manifest["targets"][first]["stages"])]
    facts += _front_end(manifest.get("frontend"))
    ends = [", ".join(f"{i['name']} ({i['kind']})" for i in streaming["inputs"]), ", ".join(streaming["outputs"])]
    items = [tag("li", tag("strong", "input "), ends[0]), *stages, tag("li", tag("strong", "output "), ends[1])]
    return join([tag("h2", "The model"), tag("p", " ".join(facts)), tag("ol", *items, class_="flow")])


def _front_end(front_end: Data | None) -> list[str]:
    """Describe the front end that makes the model's frames."""
    if front_end is None:
        return []
    if front_end["kind"] == "Normalize":
        pairs = zip(front_end["mean"], front_end["scale"], strict=True)
        told = "; ".join(f"({number(mean)}, {number(scale)})" for mean, scale in pairs)
        return [
            f"The firmware takes raw readings of {front_end['channels']} channels, and normalises them by mean and scale: {told}."
        ]
    return [f"The firmware takes samples, of which {front_end['kind']} makes {front_end['bands']} features a frame."]


def _stage(index: int, stage: Data, flow: Sequence[Data], manifest: Data) -> Markup:
    caches = {cache["name"]: cache for cache in stage["caches"]}
    rows = [row for row in flow if caches.keys() & set(row["caches"]) or (index == 0 and not row["caches"])]
    told = {name for row in rows for name in row["caches"]}
    lines = [_layer(row, caches) for row in rows]
    lines += [tag("li", tag("code", name), _cache(cache)) for name, cache in caches.items() if name not in told]
    bytes_ = sum(cache["bytes"] for cache in caches.values())
    heading = tag("strong", stage["name"])
    note = f" runs in frame step {index + 1} after a window; {len(caches)} caches, {size(bytes_)}"
    return tag("li", heading, tag("span", note, class_="soft"), tag("ul", *lines) if lines else "")


def _layer(row: Data, caches: Mapping[str, Data]) -> Markup:
    """Return the line of a layer: its operator, its caches in this stage, and its rate and delay where it has them."""
    return tag(
        "li",
        tag("code", row["path"] or "(model)"),
        tag("span", row["operator"], class_="soft"),
        *(_cache(caches[name]) for name in row["caches"] if name in caches),
        *([tag("span", f"rate {row['rate']}", class_="chip")] if row["rate"] != "1" else []),
        *([tag("span", f"delay {row['delay']}", class_="chip")] if row["delay"] else []),
    )


def _cache(cache: Data) -> Markup:
    shape = "×".join(str(n) for n in cache["shape"])
    return tag("span", f"{cache['form']} cache {shape} {cache['dtype']}", class_="chip")


def _frames(count: int, period: float | None) -> str:
    told = f"{count} frame{'' if count == 1 else 's'}"
    return told if period is None else f"{told} ({count * period * 1000:g} ms)"


def _target(target: str, manifest: Data, report: Data) -> Markup:
    figures = report["targets"][target]
    parts: list[object] = [tag("h2", _chip(target))]
    parts += [
        _metrics(target, manifest),
        render_listening(figures.get("stream_evaluation")),
        _matrix(figures, manifest),
        # The streams of validation say more.
        Markup("") if figures.get("stream_evaluation") else _streams(target, figures, manifest),
        _load(target, manifest),
        render_memory(manifest["targets"][target].get("estimate"), figures["bytes"]),
    ]
    parts += [render_precision_search(figures), _noise(figures), render_worst_ranges(figures), _ranges(figures)]
    parts.append(render_states(figures))
    return tag("section", *parts)


def _metrics(target: str, manifest: Data) -> Markup:
    rows = [[name, number(a), number(b), _signed(b - a)] for name, a, b in _deltas(manifest, target)]
    known = {row[0] for row in rows}
    others = manifest["metrics"]["quantized"].get(target, {})
    rows += [[name, "", number(value), ""] for name, value in sorted(others.items()) if name not in known]
    if not rows:
        return Markup("")
    return table(
        "Metrics of the user's own steps: float offline against the integer stream",
        ["metric", "float", "integers", "difference"],
        rows,
        (1, 2, 3),
    )


def _load(target: str, manifest: Data) -> Markup:
    estimate, streaming = manifest["targets"][target].get("estimate"), manifest["streaming"]
    if estimate is None or estimate["step_us"] is None:
        return Markup("")
    period = streaming["frame_period"]
    picture = draw_load(estimate["stages"], streaming["window"], None if period is None else period * 1e6)
    error = estimate["error"]
    note = f" Error: {error['text']}." if error else ""
    return figure(picture, f"Load per frame step: one stage runs in each. An estimate, not a measurement.{note}")


def _matrix(figures: Data, manifest: Data) -> Markup:
    found = figures.get("confusion")
    if not found:
        return Markup("")
    counts, labels = found["counts"], manifest["labels"]
    names = labels if len(labels) == len(counts) else [f"class {index}" for index in range(len(counts))]
    if found["rows"] == "target":
        told = f"Decisions of the integer stream (columns) by true class (rows), on the {found['data']} data."
    else:
        told = (
            "Output frames by the class that is highest in the integer stream (columns) and in float (rows), on the "
            f"{found['data']} data. Off the diagonal they differ."
        )
    axes = ("true class" if found["rows"] == "target" else "float", "integer stream")
    return figure(draw_matrix(names, counts, axes, found.get("float_counts", ())), told)


def _streams(target: str, figures: Data, manifest: Data) -> Markup:
    snippet = figures.get("analysis", {}).get("snippet")
    if not snippet or not snippet["float_values"] or len(snippet["float_values"][0]) < 2:
        return Markup("")
    floating, integer = snippet["float_values"], snippet["integer_values"]
    labels, detector = manifest["labels"], manifest["targets"][target].get("detector")
    scores = len(labels) == len(floating) and (detector is None or detector["activation"] == "softmax")
    if scores:
        floating, integer = softmax(floating), softmax(integer)
    names = labels if len(labels) == len(floating) else [f"channel {i}" for i in range(len(floating))]
    streaming, output = manifest["streaming"], "posteriors" if scores else "outputs"
    period = streaming["frame_period"] and streaming["frame_period"] * streaming["stride"]
    return figure(
        draw_streams(names, floating, integer, snippet["starts"], period, snippet.get("events")),
        f"The {output} over recordings, one after the other (dashed: a recording starts, from zero state). Grey area: float; "
        "line: integers. Shown are the channels that rise highest. Triangles: events of the detector, open in float and filled in "
        "integers.",
    )


def _noise(figures: Data) -> Markup:
    layers = figures.get("analysis", {}).get("layers")
    if not layers:
        return Markup("")
    ranked = sorted((layer for layer in layers if layer["own_db"] is not None), key=lambda layer: layer["own_db"])[:5]
    worst = [[layer["module"], layer["type"], f"{layer['bits']} bits", number(layer["own_db"])] for layer in ranked]
    top = max(1.0, *(layer["own_db"] or 0.0 for layer in layers))
    rows = [
        [
            layer["module"],
            layer["type"],
            layer["bits"],
            "exact" if layer["own_db"] is None else f"{layer['own_db']:.1f}",
            "exact" if layer["total_db"] is None else f"{layer['total_db']:.1f}",
            draw_bar(*(((layer[key] if layer[key] is not None else top) / top) for key in ("total_db", "own_db"))),
        ]
        for layer in layers
    ]
    header = ["layer", "type", "bits", "own, dB", "in the stream, dB", f"0 to {top:.0f} dB: stream (bar), own (tick)"]
    return join(
        [
            tag("h3", "Noise of each layer"),
            tag(
                "p",
                "Signal-to-noise ratio of each layer's output: own noise, where its inputs are exact, and all noise in the "
                "integer stream. More is better; a layer whose own ratio is low is a candidate for ",
                tag("code", "Quantization(int16=...)"),
                ".",
            ),
            table("The layers that add most noise", ["layer", "type", "width", "own, dB"], worst, (3,)),
            table("All layers in the order of computation", header, rows, (2, 3, 4)),
        ]
    )


def _ranges(figures: Data) -> Markup:
    tensors = figures.get("analysis", {}).get("tensors")
    if not tensors:
        return Markup("")
    rows = [
        [
            tensor["name"],
            tensor["kind"],
            tensor["bits"],
            number(tensor["exponent"]),
            f"{100 * tensor['clipped']:.2f} %",
            f"{100 * tensor['used']:.0f} %",
            draw_bar(tensor["used"]),
        ]
        for tensor in tensors
    ]
    header = ["tensor", "kind", "bits", "exponent", "clipped", "used", "used, 0 to 100 %"]
    details = table(
        "Share of values that were clipped, and of the integer range that was used", header, rows, (2, 3, 4, 5)
    )
    return tag("details", tag("summary", f"Tensors and caches ({len(rows)})"), details, open="open")


def _proofs(manifest: Data) -> Markup:
    rows = [
        [
            proof["name"],
            _chip(proof["target"]),
            number(proof["figure"], 3),
            number(proof["limit"], 3),
            tag("span", _STATES[_state(proof)][0], class_=_STATES[_state(proof)][1]),
        ]
        for proof in manifest["proofs"]
    ]
    caption = "What was measured, and what it may be at most"
    return join([tag("h2", "Proofs"), table(caption, ["proof", "chip", "figure", "limit", ""], rows, (2, 3))])


def _state(proof: Data) -> str:
    """Return the verdict of a proof; those of older manifests have no doubts."""
    return str(proof.get("state", "green")) if proof["passed"] else "failed"


def _versions(manifest: Data, report: Data) -> Markup:
    rows = [[name, version] for name, version in sorted(manifest["versions"].items())]
    tensors = [
        [
            tensor["name"],
            f"{_chip(target)}, {stage['name']}",
            "×".join(str(n) for n in tensor["shape"]),
            tensor["dtype"],
            number(tensor["exponent"]),
            " ".join(str(n) for n in tensor["layout"]),
        ]
        for target, entry in manifest["targets"].items()
        for stage in entry["stages"]
        for tensor in (*stage["inputs"], *stage["outputs"], *stage["caches"])
    ]
    notes = [
        tag("li", note) for note in dict.fromkeys(n for t in report["targets"].values() for n in t.get("notes", ()))
    ]
    header = ["tensor", "stage", "shape", "type", "exponent", "axes of torch"]
    return join(
        [
            tag("h2", "Tensors and versions"),
            table("What enters and leaves each file", header, tensors, (4,)),
            tag("h3", "Notes") if notes else "",
            tag("ul", *notes) if notes else "",
            table("Versions", ["package", "version"], rows),
        ]
    )


def _chip(target: str) -> str:
    """ESP32-S3 for esp32s3."""
    return f"ESP32-{target[5:].upper()}" if len(target) > 5 else target.upper()
