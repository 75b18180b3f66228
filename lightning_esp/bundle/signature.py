"""Signature of a bundle's manifest, which holds the hash of every file of the model: it tells who exported it."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

from lightning_esp.bundle.bundle import MANIFEST
from lightning_esp.bundle.confined import read_regular
from lightning_esp.bundle.reader import read_bundle
from lightning_esp.errors import BundleError, ConfigurationError, EnvironmentMismatchError

SIGNATURE = f"{MANIFEST}.sig"


def sign_bundle(path: str | os.PathLike[str], key: str | os.PathLike[str]) -> Path:
    """Sign a bundle; an older signature is replaced, and the next export makes this one invalid.

    Args:
        path: directory of the bundle, which is read and checked.
        key: file of an Ed25519 private key in PEM, `openssl genpkey -algorithm ed25519 -out key.pem` makes one.

    Returns:
        The file of the signature, `manifest.json.sig`, base64.

    Raises:
        BundleError: the bundle was changed after the export, or cannot be written.
        ConfigurationError: the file holds no such key.
        EnvironmentMismatchError: the package cryptography is not installed.
    """
    directory = read_bundle(path).path
    signature = _load_key(key, "private").sign(read_regular(directory / MANIFEST))
    try:
        (directory / SIGNATURE).unlink(missing_ok=True)  # a link might lead anywhere
        (directory / SIGNATURE).write_bytes(base64.b64encode(signature) + b"\n")
    except OSError as error:
        raise BundleError(f"{directory / SIGNATURE} cannot be written ({error.strerror}).") from None
    return directory / SIGNATURE


def check_signature(path: str | os.PathLike[str], key: str | os.PathLike[str]) -> None:
    """Check that the holder of a key has signed the manifest as it is.

    Args:
        path: directory of the bundle. `verify_bundle` checks what the manifest says of the files.
        key: file of an Ed25519 public key in PEM, `openssl pkey -in key.pem -pubout -out public.pem` makes it.

    Raises:
        BundleError: there is no signature, or it is of another key or another manifest.
        ConfigurationError: the file holds no such key.
        EnvironmentMismatchError: the package cryptography is not installed.
    """
    public = _load_key(key, "public")
    directory = read_bundle(path).path
    from cryptography.exceptions import InvalidSignature

    try:
        signature = base64.b64decode(read_regular(directory / SIGNATURE).strip(), validate=True)
        public.verify(signature, read_regular(directory / MANIFEST))
    except FileNotFoundError:
        raise BundleError(
            f"{directory} is not signed: there is no {SIGNATURE}. `lightning-esp sign` makes one."
        ) from None
    except (OSError, ValueError, InvalidSignature):
        raise BundleError(
            f"{directory / SIGNATURE} is no signature of this manifest by the holder of {os.fspath(key)}: the bundle was exported "
            "again or changed since, or another key has signed it."
        ) from None


def _load_key(path: str | os.PathLike[str], kind: str) -> Any:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise EnvironmentMismatchError(
            "signatures need the package cryptography; `pip install 'lightning-esp[sign]'`."
        ) from None
    try:
        data = Path(path).read_bytes()
        if kind == "private":
            found: Any = serialization.load_pem_private_key(data, password=None)
        else:
            found = serialization.load_pem_public_key(data)
    except OSError as error:
        raise ConfigurationError(f"{os.fspath(path)} cannot be read ({error.strerror}); name a {kind} key.") from None
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            f"{os.fspath(path)} holds no {kind} key in PEM without a password ({error})."
        ) from None
    wanted = ed25519.Ed25519PrivateKey if kind == "private" else ed25519.Ed25519PublicKey
    if not isinstance(found, wanted):
        raise ConfigurationError(
            f"{os.fspath(path)} holds a {type(found).__name__}; signatures are Ed25519: `openssl genpkey -algorithm ed25519 -out "
            "key.pem`, and `openssl pkey -in key.pem -pubout -out public.pem`."
        )
    return found
