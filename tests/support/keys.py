"""Keys to sign with."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519


def write_keys(
    folder: Path, name: str, private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
) -> tuple[Path, Path]:
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    paths = folder / f"{name}.pem", folder / f"{name}_public.pem"
    paths[0].write_bytes(private.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    paths[1].write_bytes(private.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return paths
