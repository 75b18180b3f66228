"""The page in a browser: Debian's Chromium, headless."""

import copy
import shutil
import subprocess
from pathlib import Path

import pytest

from lightning_esp import Bundle
from lightning_esp.bundle.report import render_report
from tests.bundle.report.stream_reports import make_listening

CHROMIUM = shutil.which("chromium")


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    # Nothing outside can be reached, so a page that needs it would fail here.
    options += ["--proxy-server=127.0.0.1:9", "--enable-logging=stderr", "--v=0"]
    return subprocess.run([CHROMIUM, *options, *arguments], capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")
def test_the_page_opens_without_an_error_and_prints(bundle: Bundle, tmp_path: Path) -> None:
    page, pdf = (bundle.path / "report.html").as_uri(), tmp_path / "report.pdf"
    shown = run(tmp_path, "--dump-dom", page)
    assert "CONSOLE" not in shown.stderr
    assert shown.stdout.count('role="img"') >= 2
    assert "proofs hold" in shown.stdout
    run(tmp_path, f"--print-to-pdf={pdf}", "--no-pdf-header-footer", page)
    assert pdf.read_bytes()[:5] == b"%PDF-"
    picture = tmp_path / "page.png"
    run(tmp_path, f"--screenshot={picture}", "--window-size=900,1400", page)
    assert picture.stat().st_size > 20_000


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")
def test_an_error_in_a_page_would_be_seen(tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text("<script>throw new Error('planted')</script>", encoding="utf-8")
    assert "CONSOLE" in run(tmp_path, "--dump-dom", broken.as_uri()).stderr


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")
def test_curves_stretch_and_matrix_are_drawn(bundle: Bundle, tmp_path: Path) -> None:
    manifest, report = copy.deepcopy(bundle.manifest), copy.deepcopy(bundle.report)
    report["targets"]["esp32s3"]["stream_evaluation"] = make_listening()
    report["targets"]["esp32s3"]["confusion"] = {"rows": "float", "data": "validation", "counts": [[5, 1], [0, 9]]}
    page, pdf = tmp_path / "page.html", tmp_path / "page.pdf"
    page.write_bytes(render_report(manifest, report))
    shown = run(tmp_path, "--dump-dom", page.as_uri())
    assert "CONSOLE" not in shown.stderr
    for title in ("Detection error trade-off", "Scores over 20 s of a validation stream", "Confusion matrix"):
        assert f'aria-label="{title}' in shown.stdout
    run(tmp_path, f"--print-to-pdf={pdf}", "--no-pdf-header-footer", page.as_uri())
    assert pdf.read_bytes()[:5] == b"%PDF-"
