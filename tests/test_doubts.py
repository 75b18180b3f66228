"""A proof that holds with a doubt: said by everything that tells of a bundle. And a rehearsal, which judges no ranges."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lightning_esp import Bundle, Quantization, export, read_bundle, verify_bundle
from lightning_esp.callback import _describe
from lightning_esp.cli import main
from lightning_esp.errors import ProofError

DOUBT = "esp32s3: output 'output' follows the float network: recording 1 holds 1e+06 at frame 3 of input 'x', "


class Net(nn.Module):
    """Two pointwise convs, the last one as it is before training: zero weights, or far too many large ones."""

    def __init__(self, channels: int = 8, weight: float | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv1d(4, channels, 1), nn.Conv1d(channels, 3, 1)
        if weight is not None:
            nn.init.constant_(self.last.weight, weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x)))


def recordings() -> list[Tensor]:
    return list(torch.randn(4, 4, 60, generator=torch.Generator().manual_seed(1)))


@pytest.fixture(scope="module")
def amber(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    given = recordings()
    given[1][0, 3] = 1e6
    return export(Net(), given, tmp_path_factory.mktemp("amber") / "bundle", quantization=Quantization(method="minmax"))


def test_manifest_and_notes_say_why(amber: Bundle) -> None:
    (doubt,) = amber.doubts
    assert doubt.startswith(DOUBT)
    assert read_bundle(amber.path).doubts == amber.doubts
    states = [proof["state"] for proof in amber.manifest["proofs"]]
    assert states.count("amber") == 1
    assert set(states) == {"amber", "green"}
    assert all(proof["passed"] for proof in amber.manifest["proofs"])
    assert f"esp32s3: {amber.report['targets']['esp32s3']['notes'][-1]}" == doubt


def test_the_report_shows_it(amber: Bundle) -> None:
    page = (amber.path / "report.html").read_text(encoding="utf-8")
    count = len(amber.manifest["proofs"])
    assert f"{count} of {count} proofs hold, 1 of them amber. The files compute" in page
    assert "look at what is amber before you flash it" in page
    assert 'class="verdict amber"' in page
    assert '<span class="fair">amber</span>' in page
    assert "recording 1 holds 1e+06 at frame 3" in page


def test_the_command_line_and_the_last_line_of_the_callback_say_it(
    amber: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(amber.path)]) == 0
    printed = capsys.readouterr().out
    assert f"note: amber when it was exported, {DOUBT}" in printed
    assert "is what was exported, with 1 proof(s) that are amber." in printed
    assert any(DOUBT in note for note in verify_bundle(amber)["esp32s3"].notes)
    assert _describe(amber).startswith(f"EspStreamingExport: wrote {amber.path}. 1 of its proofs is amber")
    assert f"\n  {DOUBT}" in _describe(amber)


def test_a_green_bundle_says_nothing(bundle: Bundle) -> None:
    assert bundle.doubts == ()
    assert _describe(bundle) == f"EspStreamingExport: wrote {bundle.path}."
    page = (bundle.path / "report.html").read_text(encoding="utf-8")
    assert "the model can be flashed" in page
    assert 'class="verdict"' in page


def test_a_head_of_zeros_can_be_exported_and_is_amber(tmp_path: Path) -> None:
    bundle = export(Net(weight=0.0), recordings(), tmp_path / "bundle")
    assert "puts out a constant: a dead model" in bundle.doubts[0]


def test_a_rehearsal_judges_no_ranges_and_no_noise(tmp_path: Path) -> None:
    given = [value + 2 for value in recordings()]
    strict = Quantization(min_snr_db=90.0)
    loud = Net(512, weight=1.0)
    with torch.no_grad():
        loud.first.weight.abs_()
    assert export(loud, given, tmp_path / "loud", rehearsal=True).doubts == ()
    with pytest.raises(ProofError, match="accumulators fit 20 bits"):
        export(loud, given, tmp_path / "judged")
    assert export(Net(), given, tmp_path / "strict", quantization=strict, rehearsal=True).doubts == ()
    with pytest.raises(ProofError, match=r"'output' follows the float .* 90 dB are asked"):
        export(Net(), given, tmp_path / "noisy", quantization=strict)
