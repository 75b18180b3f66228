"""`read_bundle`: a bundle back from disk, checked."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from lightning_esp.bundle.bundle import MANIFEST, PAGE, REPORT, SCHEMA, Bundle
from lightning_esp.bundle.codec import FormError, decode
from lightning_esp.bundle.confined import is_inside, read_regular
from lightning_esp.bundle.disk import PATIENCE
from lightning_esp.bundle.entries import make_stage, make_stream
from lightning_esp.bundle.ownership import find_edits, is_generated, sha256
from lightning_esp.bundle.replacement import is_being_replaced, recover_directory
from lightning_esp.bundle.schema import Manifest, Report, StageEntry, expecting
from lightning_esp.bundle.tensors import check_wiring
from lightning_esp.errors import BundleError, LightningEspError
from lightning_esp.options import check_arguments
from lightning_esp.quantization import QuantizedModel, StageFile

Result = TypeVar("Result")


def read_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read a bundle and check that its model is whole and unchanged.

    The files around the model are the user's: what was edited of them is listed in `Bundle.edits`, and what was added is
    ignored. The page is not read. A replacement that a killed process has begun is finished.

    Args:
        path: directory of the bundle.

    Returns:
        The bundle.

    Raises:
        BundleError: there is no bundle, it has another schema, or a file of the model is missing or was changed; the
            message names the file.
    """
    check_arguments(read_bundle, path=path)
    directory = Path(path).resolve()
    _finish_replacement(directory)
    return unless_replaced(directory, lambda: _read_bundle(directory))


def read_both(path: str | os.PathLike[str], target: str | None = None) -> tuple[Bundle, QuantizedModel]:
    """Return a bundle and the model of one target, both of one export.

    Raises:
        BundleError: as `read_bundle` and `read_model` do.
    """

    def read() -> tuple[Bundle, QuantizedModel]:
        bundle = read_bundle(path)
        return bundle, read_model(bundle, target)

    return unless_replaced(path, read)


def unless_replaced(path: str | os.PathLike[str], read: Callable[[], Result]) -> Result:
    """Call what reads the files of a bundle, and again where it failed since an export replaces them meanwhile."""
    end = time.monotonic() + PATIENCE
    while True:
        before = _stamp(path)
        try:
            return read()
        except LightningEspError:
            if time.monotonic() > end or (_stamp(path) == before and not is_being_replaced(Path(path))):
                raise
        time.sleep(0.002)


def read_model(bundle: Bundle, target: str | None = None) -> QuantizedModel:
    """Return the model of one target with the bytes of its files, as it was given to `write_bundle`.

    Args:
        bundle: from `read_bundle` or `write_bundle`.
        target: which chip; None: the only one, or the first.

    Raises:
        BundleError: the bundle holds no model for `target`, or another one by now.
    """
    target = bundle.targets[0] if target is None else target
    if target not in bundle.targets:
        raise BundleError(
            f"{bundle.path} holds no model for target={target!r}, only for {', '.join(bundle.targets)}; export it for "
            f"{target!r}, too."
        )
    with expecting(bundle.path / MANIFEST):
        return _read_model(bundle, target)


def _read_model(bundle: Bundle, target: str) -> QuantizedModel:
    manifest = bundle.contents
    entry = manifest.targets[target]
    stages = tuple(_stage_file(bundle.path, stage) for stage in entry.stages)
    order = [cache.name for stage in entry.stages for cache in stage.caches]
    spec = make_stream(manifest.streaming, stages, order)
    quantized = QuantizedModel(target, entry.precision, spec, stages, manifest.versions)
    check_wiring(quantized)
    count = manifest.streaming.stages
    if count != len(stages):
        raise BundleError(
            f"{bundle.path / MANIFEST}: streaming.stages is {str(count)[:40]}, and {target} has {len(stages)}; they must be "
            f"equal. Export again."
        )
    return quantized


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(read_regular(path).decode())
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); is this the directory of a bundle?") from None
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not valid JSON ({error}); export again.") from None
    if not isinstance(values, dict):
        raise BundleError(f"{path} holds no JSON object; export again.")
    return values


def _finish_replacement(directory: Path) -> None:
    try:
        recover_directory(directory)
    except (OSError, LightningEspError) as error:
        raise BundleError(
            f"{directory}: an export was interrupted while it put its files in place, and they cannot be put there now "
            f"({error}). Read it once as a user who may write there, or export again."
        ) from None


def _read_bundle(directory: Path) -> Bundle:
    manifest = _read_json(directory / MANIFEST)
    if manifest.get("schema") != SCHEMA:
        raise BundleError(
            f"{directory / MANIFEST} has schema {manifest.get('schema')!r}; this version reads {SCHEMA!r}. Export again to the "
            f"same directory, which keeps what you edited: lightning-esp export CHECKPOINT --recipe SCRIPT --output {directory}"
        )
    _check_form(directory / MANIFEST, manifest, Manifest)
    _check_files(directory, manifest["files"])
    report = _read_json(directory / REPORT)
    _check_form(directory / REPORT, report, Report)
    if not manifest["targets"]:
        raise BundleError(f"{directory / MANIFEST} holds a model for no chip: 'targets' is empty. Export again.")
    return Bundle(directory, manifest, report, find_edits(directory, manifest["files"]))


def _check_form(path: Path, values: dict[str, Any], form: Any) -> None:
    try:
        decode(form, values)
    except FormError as error:
        raise BundleError(f"{path} has another form than an export gives it: {error}. Export again.") from None


def _stamp(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Return the identity of the manifest file: a later export of the same model has another one of the same bytes."""
    try:
        found = (Path(path) / MANIFEST).stat()
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns


def _check_files(directory: Path, hashes: dict[str, str]) -> None:
    for name, expected in hashes.items():
        _check_inside(directory, name)
        if not is_generated(name) or name == PAGE:
            continue
        found = sha256(_read_inside(directory, name))
        if found != expected:
            raise BundleError(
                f"{directory / name} was changed after the export: its SHA-256 is {found[:12]}..., the manifest says "
                f"{expected[:12]}.... An export writes this file, so export again; the files around the model are yours to edit."
            )


def _check_inside(directory: Path, name: str) -> None:
    """Refuse what is no path inside the bundle, and what is neither a file, a directory nor a link: it may never end."""
    if not is_inside(name):
        raise BundleError(f"{directory / MANIFEST} names {name!r}, which is no path inside the bundle. Export again.")
    try:
        mode = os.lstat(directory / name).st_mode
    except OSError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode)):
        raise BundleError(f"{directory / name} is not a file. Remove it, and export again.")


def _read_inside(directory: Path, name: str) -> bytes:
    """Return the content of a file of the model; a link to it may not lead out of the bundle."""
    _check_inside(directory, name)
    try:
        path = (directory / name).resolve()
        is_there = path.is_file()
    except (OSError, RuntimeError):  # a name that is too long, a folder that is closed, links in a circle
        is_there = False
    if not is_there:
        raise BundleError(f"{directory / name} is missing from the bundle; export again.")
    if directory not in path.parents:
        raise BundleError(
            f"{directory / name} is a link to {path}, which is not in the bundle. Put the file itself there."
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}).") from None


def _stage_file(directory: Path, entry: StageEntry) -> StageFile:
    data = _read_inside(directory, entry.file)
    if sha256(data) != entry.sha256:
        raise BundleError(f"{directory / entry.file} is not what the manifest says of it; read the bundle again.")
    return make_stage(entry, data)
