"""`lightning-esp pack`, and what `verify` says of its file."""

from pathlib import Path

import pytest

from lightning_esp import Bundle
from lightning_esp.bundle import pack_image, read_image
from lightning_esp.cli import main


def test_a_bundle_is_packed_and_verified(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "model.lesp"
    assert main(["pack", str(bundle.path), "--target", "esp32p4", "-o", str(path)]) == 0
    data = path.read_bytes()
    assert data == pack_image(bundle, "esp32p4")
    image = read_image(data)
    assert capsys.readouterr().out == f"{path}: {bundle.name} for esp32p4, {len(data)} bytes, CRC32 {image.crc:08x}\n"
    assert main(["verify", str(bundle.path), "--image", str(path)]) == 0
    assert capsys.readouterr().out.endswith(f"{path} holds the model for esp32p4.\n")


def test_a_file_of_another_model_is_told_apart(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.lesp"
    path.write_bytes(pack_image(bundle, "esp32s3", windows=2))
    assert main(["verify", str(bundle.path), "--image", str(path)]) == 1
    assert "is not the model of" in capsys.readouterr().err
    for wrong, words in ((tmp_path / "absent", "cannot be read"), (bundle.path / "manifest.json", "no container")):
        assert main(["verify", str(bundle.path), "--image", str(wrong)]) == 1
        assert words in capsys.readouterr().err


def test_what_cannot_be_packed(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", str(bundle.path), "--target", "esp32c2"]) == 1
    assert "no model for target='esp32c2'" in capsys.readouterr().err
    assert main(["pack", str(bundle.path), "-o", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err
