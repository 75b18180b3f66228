"""The page as text: what stands in it, that nothing gets in unescaped, and that it needs nothing from outside."""

import copy
import json
import math
from html.parser import HTMLParser
from typing import Any

import pytest

from lightning_esp import Bundle
from lightning_esp.bundle.report import render_report
from lightning_esp.bundle.report.markup import number, size, table, tag
from lightning_esp.bundle.report.pictures import draw_streams, softmax

VOID = {"meta", "link", "wbr"}


class Outline(HTMLParser):
    """Elements that are open, headings, captions, and all attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.captions: list[str] = []
        self.pictures: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag == "svg" and dict(attrs).get("role") == "img":
            self.pictures.append(dict(attrs).get("aria-label") or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings.append(data)
        if self.open and self.open[-1] == "caption":
            self.captions.append(data)


@pytest.fixture(scope="module")
def parts(bundle: Bundle) -> tuple[dict[str, Any], dict[str, Any]]:
    """Manifest and report that a test may change."""
    return copy.deepcopy(bundle.manifest), copy.deepcopy(bundle.report)


def test_a_bundle_holds_its_page_and_the_page_can_be_made_again(bundle: Bundle) -> None:
    page = (bundle.path / "report.html").read_bytes()
    assert render_report(bundle.manifest, bundle.report) == page
    assert "report.html" in bundle.manifest["files"]


def test_the_verdict_comes_first_then_pictures_then_tensors(bundle: Bundle) -> None:
    page = (bundle.path / "report.html").read_text(encoding="utf-8")
    outline = Outline(page)
    assert outline.open == []
    assert outline.headings[0].startswith("model: streaming model for ESP32-")
    assert [h for h in outline.headings if h in ("The model", "ESP32-S3", "Proofs", "Tensors and versions")] == [
        "The model",
        "ESP32-S3",
        "Proofs",
        "Tensors and versions",
    ]
    count = len(bundle.manifest["proofs"])
    assert page.index(f"{count} of {count} proofs hold") < page.index("<h2>")
    assert any("float and integers" in picture for picture in outline.pictures)
    assert "Load of each frame step" in outline.pictures
    assert all(outline.pictures)
    for proof in bundle.manifest["proofs"]:
        assert proof["name"].replace("'", "&#x27;") in page
    for cache in ("stage0.cache", "stage2.cache"):
        assert page.replace("<wbr>", "").count(cache) >= 2


def test_the_page_needs_nothing_from_outside(bundle: Bundle) -> None:
    page = (bundle.path / "report.html").read_text(encoding="utf-8")
    links = [value for name, value in Outline(page).attributes if name in ("src", "href", "srcset", "action")]
    assert links == ["data:,"]
    assert "url(" not in page
    assert "@import" not in page
    assert "<script" not in page


def test_a_failed_proof_changes_the_verdict(parts: tuple[dict[str, Any], dict[str, Any]]) -> None:
    manifest, report = copy.deepcopy(parts)
    manifest["proofs"][1]["passed"] = False
    page = render_report(manifest, report).decode()
    count = len(manifest["proofs"])
    assert f"{count - 1} of {count} proofs hold. Do not flash it." in page
    assert 'class="verdict failed"' in page


def test_metrics_and_budget_are_told(parts: tuple[dict[str, Any], dict[str, Any]]) -> None:
    manifest, report = copy.deepcopy(parts)
    manifest["metrics"] = {"float": {"val_acc": 0.953}, "quantized": {"esp32s3": {"val_acc": 0.95}, "esp32p4": {}}}
    manifest["budget"] = {"ram": 100_000, "flash": None, "step_us": 5000}
    page = render_report(manifest, report).decode()
    assert "float 0.953, \u22120.0030" in page
    assert "of 97.7 KiB allowed" in page
    assert "of 5\u202f000 µs allowed" in page


def test_the_confusion_matrix_is_drawn_where_there_is_one(parts: tuple[dict[str, Any], dict[str, Any]]) -> None:
    manifest, report = copy.deepcopy(parts)
    assert "Confusion matrix" not in Outline(render_report(manifest, report).decode()).pictures
    manifest["labels"] = ["no", "yes"]
    confusion = {"rows": "target", "data": "test", "counts": [[5, 1], [0, 7]], "float_counts": [[6, 0], [0, 7]]}
    report["targets"]["esp32s3"]["confusion"] = confusion
    page = render_report(manifest, report).decode()
    assert "Confusion matrix" in Outline(page).pictures
    assert "<title>no as yes: 1 of 6; float 0</title>" in page
    assert "by true class (rows), on the test data" in page
    report["targets"]["esp32s3"]["confusion"] = {"rows": "float", "data": "validation", "counts": [[1, 0, 0]] * 3}
    page = render_report(manifest, report).decode()
    assert "in float (rows), on the validation data" in page
    assert ">class 2</text>" in page, "there are labels for two classes only"


def test_names_from_outside_are_escaped(parts: tuple[dict[str, Any], dict[str, Any]]) -> None:
    text = json.dumps(parts)
    manifest, report = json.loads(text.replace("stage0.cache", "<script>alert(1)</script>&"))
    page = render_report(manifest, report).decode()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_pieces() -> None:
    assert tag("a", "x<y", title='"') == '<a title="&quot;">x&lt;y</a>'
    assert [number(v) for v in (1234567, 0.123456, None, "inf", 2.0)] == [
        "1\u202f234\u202f567",
        "0.1235",
        "–",
        "inf",
        "2",
    ]
    assert [size(v) for v in (100, 4096)] == ["100 bytes", "4.0 KiB"]
    assert '<th scope="row">a</th><td class="n">1</td>' in table("c", ["x", "y"], [["a", 1]], (1,))


def test_lanes_show_the_highest_channels_at_their_height() -> None:
    rows = [[0.0, 0.0], [0.0, 1.0], [0.0, 0.5]]
    picture = draw_streams(["quiet", "loud", "middle"], rows, rows, [0], None, most=2)
    assert "quiet" not in picture
    assert picture.index("loud") < picture.index("middle")
    heights = [float(points.split('"')[0].split(",")[-1]) for points in picture.split('<polyline points="')[1:]]
    assert 46 - 4 - heights[0] == pytest.approx(36)
    assert 92 - 4 - heights[1] == pytest.approx(18)


def test_softmax_adds_up_to_one_and_keeps_differences() -> None:
    rows = softmax([[1000.0, 0.0], [1001.0, 0.0]])
    assert [sum(column) for column in zip(*rows, strict=True)] == pytest.approx([1, 1])
    assert math.log(rows[1][0] / rows[0][0]) == pytest.approx(1)


def test_events_stand_in_the_lane_of_their_channel() -> None:
    rows = [[0.0, 1.0, 0.0], [0.0, 0.5, 0.0]]
    events = {"float": [[1, 0]], "integer": [[2, 1]]}
    picture = draw_streams(["a", "b"], rows, rows, [0], None, events)
    assert picture.count('class="event') == 2
    left, right = picture.index("<title>a, float</title>"), picture.index("<title>b, integer</title>")
    assert left < right
    assert 'points="485.0,2 495.0,2 490.0,10" class="event float"' in picture
