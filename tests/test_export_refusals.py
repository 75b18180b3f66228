"""Bad input of `export`: refused by name, and what the message advises exports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_esp import Quantization, Streaming, export
from lightning_esp.errors import (
    ConfigurationError,
    ConversionError,
    DataError,
    EnvironmentMismatchError,
    NotCausalError,
    OutputDirectoryError,
    ProofError,
    QuantizationError,
    UnknownTargetError,
    WindowError,
)
from lightning_esp.verification import Proof, TaskResult
from tests.models.contracts import CASES, Skip
from tests.models.tutorial_tcn import shake
from tests.support.exports import Padded, Refused, Wrong

CASE = CASES["tutorial"]


@pytest.mark.usefixtures("quick")
def test_a_stream_that_differs_is_refused(tmp_path: Path) -> None:
    message = r"float parity, float32: 0\.00\d+, but at most 1e-05 is allowed\. stage 'stage_0', output 'output', from frame 0"
    with pytest.raises(ProofError, match=message):
        export(shake(Wrong()), [torch.randn(8, 40)], tmp_path / "bundle")
    assert not list(tmp_path.iterdir())
    assert export(shake(Skip()), [torch.randn(8, 40)], tmp_path / "bundle").path.is_dir()


@pytest.mark.usefixtures("quick")
def test_padding_that_looks_ahead_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotCausalError, match=r"Padded looks ahead by 1 frame.*Pad only"):
        export(shake(Padded()), [torch.randn(8, 40)], tmp_path / "bundle")

    class Left(Skip):
        def forward(self, x: Tensor) -> Tensor:
            return F.silu(self.conv(F.pad(x, ((3 - 1) * 1, 0)))) + x

    assert export(shake(Left()), [torch.randn(8, 40)], tmp_path / "bundle").path.is_dir()


@pytest.mark.usefixtures("quick")
def test_a_window_that_does_not_fit_the_stride_is_refused(tmp_path: Path) -> None:
    module, recordings = CASES["strided"].module(), CASES["strided"].recordings(40)
    with pytest.raises(WindowError, match=r"window=3\) .* of .* 2 frames; use 2 or 4"):
        export(module, recordings, tmp_path / "bundle", streaming=Streaming(window=3))
    assert export(module, recordings, tmp_path / "two", streaming=Streaming(window=2)).path.is_dir()
    assert export(module, recordings, tmp_path / "four", streaming=Streaming(window=4)).path.is_dir()


@pytest.mark.usefixtures("quick")
def test_a_window_shorter_than_the_stages_is_refused(tmp_path: Path) -> None:
    short = replace(CASE.streaming, window=2)
    with pytest.raises(WindowError, match=r"Streaming\(window=2\) is shorter than the 3 stages.*use 3"):
        export(CASE.module(), CASE.recordings(40), tmp_path / "bundle", streaming=short)
    assert export(CASE.module(), CASE.recordings(40), tmp_path / "bundle", streaming=replace(short, window=3))


@pytest.mark.usefixtures("quick")
def test_what_esp_ppq_cannot_do_is_refused_by_module(tmp_path: Path) -> None:
    class Outer(nn.Module):
        def __init__(self, act: nn.Module) -> None:
            super().__init__()
            self.conv, self.act = nn.Conv1d(8, 8, 1), act

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.conv(x))

        def streaming_forward(self, x: Tensor) -> Tensor:
            return self.forward(x)

    with pytest.raises(QuantizationError, match=r"Trilu comes from module 'act'\. Replace it"):
        export(shake(Outer(Refused())), [torch.randn(8, 40)], tmp_path / "bundle")
    assert export(shake(Outer(nn.Tanh())), [torch.randn(8, 40)], tmp_path / "bundle").path.is_dir()


@pytest.mark.parametrize("target", ["esp8266", ["esp32s3", "esp8266"]])
def test_an_unknown_target_is_refused(tmp_path: Path, target: str | list[str]) -> None:
    with pytest.raises(UnknownTargetError, match="target='esp8266' is not a chip"):
        export(CASE.module(), CASE.recordings(40), tmp_path / "bundle", target, CASE.streaming)


def test_no_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"target=\[\] names no chip; give one, 'esp32s3' say"):
        export(CASE.module(), CASE.recordings(40), tmp_path / "bundle", [], CASE.streaming)


@pytest.mark.parametrize("recordings", [[], ()])
def test_no_recordings_are_refused(tmp_path: Path, recordings: list[Tensor]) -> None:
    with pytest.raises(DataError, match="export got no recordings; give at least one"):
        export(CASE.module(), recordings, tmp_path / "bundle", streaming=CASE.streaming)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("index", [0, 1])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, index: int, value: float) -> None:
    recordings = CASE.recordings(40, 24, 30)
    recordings[index][3, 5] = value
    message = rf"recording {index}: input 'x' has 1 NaN or infinite value\(s\); remove the recording"
    with pytest.raises(DataError, match=message):
        export(CASE.module(), recordings, tmp_path / "bundle", streaming=CASE.streaming)
    del recordings[index]
    assert export(CASE.module(), recordings, tmp_path / "bundle", streaming=CASE.streaming).path.is_dir()


@pytest.mark.usefixtures("quick")
def test_recordings_shorter_than_a_window_are_refused(tmp_path: Path) -> None:
    short = replace(CASE.streaming, window=30)
    message = (
        r"all 2 calibration recordings are shorter than one window of 30 frames \(the longest has 12\); give longer rec"
    )
    with pytest.raises(DataError, match=message):
        export(CASE.module(), CASE.recordings(12, 9), tmp_path / "bundle", streaming=short)
    assert export(CASE.module(), CASE.recordings(12, 31), tmp_path / "longer", streaming=short).path.is_dir()
    smaller = replace(short, window=6)
    assert export(CASE.module(), CASE.recordings(12, 9), tmp_path / "smaller", streaming=smaller).path.is_dir()


@pytest.mark.usefixtures("quick")
def test_recordings_of_another_shape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"recording 1: .* \[7, 40\], .* takes \[8, 40\]"):
        export(CASE.module(), [torch.randn(8, 40), torch.randn(7, 40)], tmp_path / "bundle", streaming=CASE.streaming)
    with pytest.raises(ConversionError, match=r"does not run on the example \{'x': \[7, 40\]\}"):
        export(CASE.module(), [torch.randn(7, 40)], tmp_path / "bundle", streaming=CASE.streaming)


@pytest.mark.usefixtures("quick")
def test_an_output_directory_that_is_not_ours_is_refused_before_anything_runs(tmp_path: Path) -> None:
    file, full = tmp_path / "file", tmp_path / "full"
    file.write_text("notes")
    full.mkdir()
    (full / "thesis.tex").write_text("years of work")
    for path, message in ((file, "is a file; a bundle is a directory"), (full, r"other files in it \(.*thesis\.tex")):
        with pytest.raises(OutputDirectoryError, match=message):
            # No recordings either: the directory is looked at first.
            export(CASE.module(), [], path, streaming=CASE.streaming)
    assert file.read_text() == "notes"
    assert [p.name for p in full.iterdir()] == ["thesis.tex"]
    # One that does not exist, and one that is empty.
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "new", tmp_path / "empty"):
        assert export(CASE.module(), CASE.recordings(20), path, streaming=CASE.streaming).path == path


@pytest.mark.parametrize("version", [(3, 9), (3, 13)])
def test_a_python_that_esp_ppq_does_not_support_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: tuple[int, int]
) -> None:
    monkeypatch.setattr("lightning_esp.versions.sys.version_info", (*version, 0))
    message = (
        rf"Python {version[0]}\.{version[1]} runs, but esp-ppq supports 3\.10 to 3\.12; make an environment with one"
    )
    with pytest.raises(EnvironmentMismatchError, match=message):
        export(CASE.module(), CASE.recordings(40), tmp_path / "bundle", streaming=CASE.streaming)


def test_another_esp_ppq_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_esp.versions.version", lambda name: "1.2.0")
    with pytest.raises(EnvironmentMismatchError, match=r"1\.2\.0 is installed, .* esp-ppq==1\.3\.12"):
        export(CASE.module(), CASE.recordings(40), tmp_path / "bundle", streaming=CASE.streaming)


def test_a_lossy_metric_names_the_layers_to_keep_in_int16(tmp_path: Path, quick: None) -> None:
    def judge(stream: nn.Module) -> TaskResult:
        return TaskResult({"acc": 0.9}, {"acc": 0.7}, (Proof("acc holds", 0.2, 0.005, False, "acc", "Try more."),))

    with pytest.raises(ProofError, match=r"Quantization\(int16=\('stage.*',\)\).*Try more\.") as caught:
        export(CASE.module(), CASE.recordings(40, 41), tmp_path / "b", streaming=CASE.streaming, evaluate=judge)
    path = str(caught.value).partition("int16=('")[2].partition("'")[0]
    kept = Quantization(int16=(path,))
    written = export(
        CASE.module(), CASE.recordings(40, 41), tmp_path / "b", streaming=CASE.streaming, quantization=kept
    )
    layers = written.report["targets"]["esp32s3"]["analysis"]["layers"]
    assert {layer["bits"] for layer in layers if layer["module"] == path} == {16}
    assert {layer["bits"] for layer in layers if layer["module"] != path} >= {8}
