"""A receptive field longer than the recordings of the training is told, with figures, in report and log."""

import importlib
import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_esp import Streaming, calibrate, convert, export, quantize, verify
from lightning_esp.conversion import Recordings, StreamSpec
from lightning_esp.verification.reach import compare_reach
from tests.models.pieces import CausalConv

# The package has functions of these names.
pipeline = importlib.import_module("lightning_esp.pipeline")
verify_module = importlib.import_module("lightning_esp.verification.verify")


def deep() -> nn.Module:
    """Five layers that see 1 + 2 * (1 + 2 + 4 + 8 + 16) = 63 frames."""
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Sequential(CausalConv(4, 4, 3, dilation=2**i), nn.ReLU()) for i in range(5))).eval()


@pytest.mark.parametrize(
    ("lengths", "told"), [((20, 40), True), ((62, 62), True), ((20, 63), False), ((100,), False)], ids=str
)
def test_the_longest_recording_decides(lengths: tuple[int, ...], told: bool) -> None:
    recordings = [torch.randn(4, n) for n in lengths]
    notes = compare_reach(convert(deep(), recordings[0]).spec, recordings)
    assert len(notes) == told
    if told:
        assert f"63 frames, exceeds the recordings, of which the longest has {max(lengths)} frames" in notes[0]
        assert f"{63 - max(lengths)} frame" in notes[0]


def test_seconds_are_told_where_they_are_known() -> None:
    recordings = [torch.randn(4, 50)]
    (note,) = compare_reach(convert(deep(), recordings[0], Streaming(frame_period=0.01)).spec, recordings)
    assert "63 frames (0.63 s)" in note
    assert "the longest has 50 frames (0.5 s)" in note
    assert "13 frames (0.13 s) of each output frame's input are real" in note


def test_a_state_that_never_forgets_has_no_figure() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(4, 4, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(x)[0]  # type: ignore[no-any-return]

    recordings = [torch.randn(9, 4)]
    assert compare_reach(convert(Recurrent(), recordings[0]).spec, recordings) == ()


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What each comparison told, wherever it is asked for."""
    told: list[tuple[str, ...]] = []

    def counted(spec: StreamSpec, recordings: Recordings) -> tuple[str, ...]:
        told.append(compare_reach(spec, recordings))
        return told[-1]

    for user in (pipeline, verify_module):
        monkeypatch.setattr(user, "compare_reach", counted)
    return told


def test_an_export_says_so_in_report_and_log_and_compares_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, compared: list[tuple[str, ...]]
) -> None:
    with caplog.at_level(logging.WARNING, "lightning_esp"):
        bundle = export(
            deep(), [torch.randn(4, 50)] * 2, tmp_path / "bundle", target=["esp32s3", "esp32p4"], rehearsal=True
        )
    assert len(compared) == 1
    for chip in ("esp32s3", "esp32p4"):
        told = [note for note in bundle.report["targets"][chip]["notes"] if "receptive field" in note]
        assert tuple(told) == compared[0]
    assert caplog.text.count(compared[0][0]) == 1
    assert "the receptive field, 63 frames, exceeds the recordings" in (tmp_path / "bundle/report.html").read_text()


def test_what_is_proved_by_itself_says_so_too(compared: list[tuple[str, ...]]) -> None:
    module, recordings = deep(), [torch.randn(4, 50)] * 2
    model = convert(module, recordings[0])
    notes = verify(module, model, quantize(model, calibrate(model, recordings)), recordings).notes
    assert [note for note in notes if "receptive field" in note] == list(compared[0])
    assert len(compared) == 1
