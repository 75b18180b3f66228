"""Commands that read bundles: what they print, and how they exit."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_esp import Bundle, Streaming, export
from lightning_esp.cli import main


def test_a_whole_bundle_is_verified(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(bundle.path)]) == 0
    printed = capsys.readouterr().out
    assert "esp32s3: the files give the golden windows, value for value: 0, at most 0" in printed
    assert "esp32p4: files hold their own digest: 0" in printed
    # Below each check stands what it means.
    lines = printed.splitlines()
    checks = [index for index, line in enumerate(lines) if line.endswith(", at most 0")]
    assert len(checks) == 10
    assert all(lines[index + 1].startswith("    ") for index in checks)


def test_a_changed_bundle_exits_with_one(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle.path, copy)
    path = copy / bundle.manifest["targets"]["esp32s3"]["stages"][0]["file"]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert main(["verify", str(copy)]) == 1
    captured = capsys.readouterr()
    assert path.name in captured.err
    assert "is what was exported" not in captured.out


def test_the_page_comes_out_as_in_the_bundle(bundle: Bundle, tmp_path: Path) -> None:
    assert main(["report", str(bundle.path), "--output", str(tmp_path / "new" / "page.html")]) == 0
    assert (tmp_path / "new" / "page.html").read_bytes() == (bundle.path / "report.html").read_bytes()


def test_a_file_is_listed(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = bundle.manifest["targets"]["esp32s3"]["stages"][0]
    assert main(["inspect", str(bundle.path / stage["file"])]) == 0
    printed = capsys.readouterr().out
    assert all(tensor["name"] in printed for tensor in (*stage["inputs"], *stage["outputs"]))
    assert "Conv(" in printed
    (tmp_path / "torn.espdl").write_bytes(b"EDL2")
    for wrong in ("torn.espdl", "absent.espdl"):
        assert main(["inspect", str(tmp_path / wrong)]) == 1
        assert wrong in capsys.readouterr().err


def test_outputs_of_a_file_in_a_bundle_have_the_names_of_forward(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Heads(nn.Conv1d):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:  # type: ignore[override]
            return {"logits": super().forward(x), "energy": x * x}

    kept = Streaming(outputs=["energy", "logits"])
    bundle = export(Heads(4, 3, 1).eval(), [torch.randn(4, 30)], tmp_path / "b", streaming=kept, rehearsal=True)
    file = bundle.path / bundle.manifest["targets"]["esp32s3"]["stages"][0]["file"]
    assert main(["inspect", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["output output_0 is 'energy' of forward", "output output_1 is 'logits' of forward"]
    (bundle.path / "report.json").unlink()
    assert main(["inspect", str(file)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[:-1] == lines[:-2]
    assert "What forward calls the outputs is not known" in out.splitlines()[-1]
    assert "report.json is missing" in out.splitlines()[-1]
    alone = shutil.copy(file, tmp_path)
    assert main(["inspect", str(alone)]) == 0
    assert capsys.readouterr().out.splitlines() == lines[:-2]


def test_two_bundles_stand_side_by_side(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(bundle.path), str(bundle.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.endswith("difference")] == list(bundle.targets)
    flash = next(line for line in lines if line.startswith("bytes of flash"))
    count = str(bundle.manifest["targets"][bundle.targets[0]]["estimate"]["flash"])
    assert flash.split()[-3:] == [count, count, "+0"]
    assert any(line.startswith("noise of ") and line.split()[-1] == "+0" for line in lines)


@pytest.mark.parametrize("arguments", [[], ["fly"], ["verify"], ["compare", "a"]])
def test_wrong_usage_exits_with_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: lightning-esp" in capsys.readouterr().err


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert all(f"    {name} " in printed for name in ("simulate", "verify", "report", "inspect", "compare"))
