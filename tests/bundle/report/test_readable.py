"""Whether the page can be read: contrast, size on a phone, titles, headings that stay with their tables in print."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest

import lightning_esp
from lightning_esp import Bundle
from lightning_esp.bundle.report import render_report
from lightning_esp.bundle.report.markup import size, table
from lightning_esp.bundle.report.pictures import WIDTH, draw_matrix

STYLE = (Path(lightning_esp.__file__).parent / "bundle" / "report" / "style.css").read_text(encoding="utf-8")
# On the screen by day and by night, and on paper; a theme has the colours of the first where it has none of its own.
THEMES = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)


def colours(theme: str) -> dict[str, str]:
    found = [re.findall(r"--(\w+): (#\w+)", text) for text in (THEMES[0], theme)]
    return {name: value for pairs in found for name, value in pairs}


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    """The ratio of WCAG 2: 21 is black on white."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def mix(front: str, back: str, share: float) -> str:
    pairs = [(int(front[place : place + 2], 16), int(back[place : place + 2], 16)) for place in (1, 3, 5)]
    return "#" + "".join(f"{round(a * share + b * (1 - share)):02x}" for a, b in pairs)


def test_the_measure_is_right() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#b9b3a8", "#fdfcfa") == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("theme", THEMES, ids=["day", "night", "print"])
def test_text_and_curves_stand_out(theme: str) -> None:
    found = colours(theme)
    for context in (found["paper"], found["panel"]):
        for name in ("ink", "soft", "good", "fair", "bad"):
            assert contrast(found[name], context) >= 4.5, name
    for name in ("float", "accent", "soft", "good"):
        assert contrast(found[name], found["paper"]) >= 3.0, name
    # The integers' line over the area of float, and the darkest cell of a matrix under its number.
    assert contrast(found["accent"], found["area"]) >= 3.0
    counts = draw_matrix(["a"], [[9]], ("true", "told"))
    (darkest,) = re.findall(r'fill-opacity="([\d.]+)"', counts)
    if len(found["paper"]) == 7:
        assert contrast(found["ink"], mix(found["accent"], found["paper"], float(darkest))) >= 4.5


def test_pictures_keep_their_size_on_a_phone(bundle: Bundle) -> None:
    (least,) = re.findall(r"figure svg \{ min-width: (\d+)px", STYLE)
    (font,) = re.findall(r"svg text \{[^}]*font: (\d+)px", STYLE)
    assert int(font) * int(least) / WIDTH >= 11
    page = (bundle.path / "report.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == page.count('<figure><div class="wide" tabindex="0"><svg') >= 2
    assert re.search(r"\.wide \{ overflow-x: auto", STYLE)


def test_names_break_at_their_dots_only() -> None:
    cells = table("Layers", ["layer", "type"], [["blocks.0.depthwise", "Conv"], ["what a sentence. is", "a.b"]])
    assert ">blocks.<wbr>0.<wbr>depthwise<" in cells
    assert ">what a sentence. is<" in cells
    assert ">a.b<" in cells
    assert "anywhere" not in STYLE


def test_axes_have_titles(bundle: Bundle) -> None:
    report = copy.deepcopy(bundle.report)
    report["targets"]["esp32s3"]["confusion"] = {"rows": "target", "data": "validation", "counts": [[5, 1], [0, 9]]}
    page = render_report(bundle.manifest, report).decode()
    assert ">true class ↓<" in page
    assert ">integer stream →<" in page
    assert re.search(r">0 to \d+ dB: stream \(bar\), own \(tick\)<", page)
    assert ">used, 0 to 100 %<" in page


def test_headings_stay_with_their_tables_in_print() -> None:
    printed = STYLE.partition("@media print")[2]
    assert re.search(r"h3,[^{]*caption, thead \{ break-after: avoid", printed)
    assert "thead { display: table-header-group; }" in printed
    assert ".wide { overflow: visible; }" in printed


def test_memory_is_what_the_firmware_asks_for_and_flash_counts_golden_files(bundle: Bundle) -> None:
    page = (bundle.path / "report.html").read_text(encoding="utf-8")
    for target in bundle.targets:
        folder = bundle.path / "components" / "lesp_model" / target
        header = (folder / "model_config.hpp").read_text(encoding="utf-8")
        asked = [int(size) for size in re.findall(r"kEstimated(?:Ram|Parameters) = (\d+)", header)]
        estimate = bundle.manifest["targets"][target]["estimate"]
        assert asked == [estimate["ram"], estimate["psram"]]
        golden = sum(path.stat().st_size for path in (folder / "golden").iterdir())
        assert golden > 0
        for row, count in (
            ("together", sum(asked)),
            ("flash: golden files", golden),
            ("flash together", golden + estimate["flash"]),
        ):
            assert f'<th scope="row">{row}</th><td class="n">{size(count)}</td>' in page
