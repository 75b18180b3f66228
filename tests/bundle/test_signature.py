"""A signature says who exported a bundle, and ends with the next change."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from lightning_esp import Bundle, write_bundle
from lightning_esp.bundle.signature import check_signature, sign_bundle
from lightning_esp.cli import main
from lightning_esp.errors import BundleError, ConfigurationError
from tests.bundle import handmade
from tests.support.keys import write_keys


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle({"esp32s3": handmade.one_stage()}, tmp_path / "fw")


def test_the_holder_of_a_key_signs_and_whoever_has_the_public_one_checks(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, public = write_keys(tmp_path, "own", ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(BundleError, match="is not signed"):
        check_signature(bundle.path, public)
    assert main(["sign", str(bundle.path), "--key", str(key)]) == 0
    assert capsys.readouterr().out.strip() == str(bundle.path / "manifest.json.sig")
    check_signature(bundle.path, public)
    _, other = write_keys(tmp_path, "other", ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(BundleError, match="another key has signed it"):
        check_signature(bundle.path, other)


def test_another_export_and_a_damaged_signature_are_found(bundle: Bundle, tmp_path: Path) -> None:
    key, public = write_keys(tmp_path, "own", ed25519.Ed25519PrivateKey.generate())
    path = sign_bundle(bundle.path, key)
    write_bundle({"esp32s3": handmade.one_stage(seed=7)}, bundle.path)
    with pytest.raises(BundleError, match="exported again or changed since"):
        check_signature(bundle.path, public)
    sign_bundle(bundle.path, key)
    check_signature(bundle.path, public)
    for damaged in (b"", b"!!!", path.read_bytes()[:-9]):
        path.write_bytes(damaged)
        with pytest.raises(BundleError, match="is no signature of this manifest"):
            check_signature(bundle.path, public)


def test_what_is_no_such_key_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    key, public = write_keys(tmp_path, "curve", ec.generate_private_key(ec.SECP256R1()))
    (tmp_path / "text.pem").write_text("no key")
    for path, message in (
        (key, "signatures are Ed25519"),
        (public, "holds no private key"),
        (tmp_path / "text.pem", "holds no private key"),
        (tmp_path / "nothing.pem", "cannot be read"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            sign_bundle(bundle.path, path)
    assert not (bundle.path / "manifest.json.sig").exists()
