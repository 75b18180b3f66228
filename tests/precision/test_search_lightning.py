"""`precision="auto"` through the callback."""

import math
from pathlib import Path

import pytest

from lightning_esp import EspStreamingExport, Quantization
from tests.models.fake_export import FakeExport
from tests.models.runs import fit

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]


def test_untrained_weights_need_not_hold_the_tolerance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeExport()
    monkeypatch.setattr("lightning_esp.callback.export", fake)
    auto = Quantization("auto", tolerance=0.01)
    fit(tmp_path, EspStreamingExport(quantization=auto))
    dry, real = (call.options[-2] for call in fake.calls)
    assert (dry.precision, dry.tolerance) == ("auto", math.inf)
    assert real == auto


def test_a_run_climbs_with_its_own_metrics(tmp_path: Path) -> None:
    # The training is a few steps long, so the metrics may fall; what counts is who was asked.
    callback = EspStreamingExport(quantization=Quantization("auto", tolerance=0.3))
    fit(tmp_path, callback)
    assert callback.bundle is not None
    search_precision = callback.bundle.manifest["targets"]["esp32s3"]["precision_search"]
    chosen = next(candidate for candidate in search_precision["candidates"] if candidate["outcome"] == "chosen")
    quantized = callback.bundle.manifest["metrics"]["quantized"]["esp32s3"]
    assert chosen["metrics"] == quantized
    assert "val_acc" in quantized
