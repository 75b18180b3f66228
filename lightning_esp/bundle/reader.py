"""`read_bundle`: a bundle back from disk, checked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_esp.bundle.manifest import sha256
from lightning_esp.bundle.model import MANIFEST, REPORT, SCHEMA, Bundle
from lightning_esp.errors import BundleError
from lightning_esp.quantization.model import CacheInfo, QuantizedModel, StageFile, TensorInfo
from lightning_esp.streaming.model import Cache, Port, Stage, StreamSpec

_KEYS = ("name", "versions", "streaming", "targets", "metrics", "proofs", "labels", "files")


def read_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read a bundle and check that it is whole and unchanged.

    Files that a build has added are ignored.

    Args:
        path: directory of the bundle.

    Returns:
        The bundle.

    Raises:
        BundleError: there is no bundle, it has another schema, or a file is missing or was changed; the message names
            the file.
    """
    directory = Path(path).resolve()
    manifest = _read_json(directory / MANIFEST)
    if manifest.get("schema") != SCHEMA:
        raise BundleError(
            f"{directory / MANIFEST} has schema {manifest.get('schema')!r}; this version reads {SCHEMA!r}. Export again."
        )
    missing = [key for key in _KEYS if key not in manifest]
    if missing:
        raise BundleError(f"{directory / MANIFEST} lacks {', '.join(missing)}. Export again.")
    _check_files(directory, manifest["files"])
    return Bundle(directory, manifest, _read_json(directory / REPORT))


def read_model(bundle: Bundle, target: str | None = None) -> QuantizedModel:
    """Return the model of one target with the bytes of its files, as it was given to `write_bundle`.

    Args:
        bundle: from `read_bundle` or `write_bundle`.
        target: which chip; None: the only one, or the first.

    Raises:
        BundleError: the bundle holds no model for `target`.
    """
    target = bundle.targets[0] if target is None else target
    if target not in bundle.targets:
        raise BundleError(
            f"{bundle.path} holds no model for target={target!r}, only for {', '.join(bundle.targets)}; export it for "
            f"{target!r}, too."
        )
    entry = bundle.manifest["targets"][target]
    stages = tuple(_stage_file(bundle.path, stage) for stage in entry["stages"])
    order = [values["name"] for stage in entry["stages"] for values in stage["caches"]]
    spec = _spec(bundle.manifest["streaming"], stages, order)
    return QuantizedModel(target, entry["precision"], spec, stages, dict(bundle.manifest["versions"]))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); is this the directory of a bundle?") from None
    except ValueError as error:
        raise BundleError(f"{path} is not valid JSON ({error}); export again.") from None
    if not isinstance(values, dict):
        raise BundleError(f"{path} holds no JSON object; export again.")
    return values


def _check_files(directory: Path, hashes: dict[str, str]) -> None:
    for name, expected in hashes.items():
        try:
            found = sha256((directory / name).read_bytes())
        except OSError:
            raise BundleError(f"{directory / name} is missing from the bundle; export again.") from None
        if found != expected:
            raise BundleError(
                f"{directory / name} was changed after the export: its SHA-256 is {found[:12]}..., the manifest says "
                f"{expected[:12]}.... Export again, or work on a copy of the bundle."
            )


def _stage_file(directory: Path, entry: dict[str, Any]) -> StageFile:
    return StageFile(
        name=entry["name"],
        data=(directory / entry["file"]).read_bytes(),
        inputs=tuple(_tensor(values) for values in entry["inputs"]),
        outputs=tuple(_tensor(values) for values in entry["outputs"]),
        caches=tuple(
            CacheInfo(_tensor(values), values["next"], values["initial"])
            for values in entry["caches"]
            if values["form"] == "explicit"
        ),
        native_caches=tuple(_tensor(values) for values in entry["caches"] if values["form"] == "native"),
    )


def _tensor(values: dict[str, Any]) -> TensorInfo:
    return TensorInfo(
        values["name"],
        tuple(values["shape"]),
        values["dtype"],
        values["exponent"],
        tuple(values["layout"]),
        values["time_axis"],
    )


def _spec(streaming: dict[str, Any], files: tuple[StageFile, ...], order: Sequence[str]) -> StreamSpec:
    stages = tuple(
        Stage(
            file.name,
            tuple(_port(tensor) for tensor in file.inputs),
            tuple(_port(tensor) for tensor in file.outputs),
            tuple(sorted(_float_caches(file), key=lambda cache: order.index(cache.name))),
        )
        for file in files
    )
    inputs = {port.name: port for stage in stages for port in stage.inputs}
    outputs = {port.name: port for stage in stages for port in stage.outputs}
    return StreamSpec(
        window=streaming["window"],
        stride=streaming["stride"],
        inputs=tuple(inputs[values["name"]] for values in streaming["inputs"]),
        outputs=tuple(replace(outputs[name], **streaming["paces"].get(name, {})) for name in streaming["outputs"]),
        stages=stages,
        delay=streaming["delay"],
        trim=streaming["trim"],
        receptive_field=streaming["receptive_field"],
        frame_period=streaming["frame_period"],
        cache_form=streaming["caches"],
    )


def _port(tensor: TensorInfo) -> Port:
    time_axis = None if tensor.time_axis is None else tensor.layout[tensor.time_axis]
    return Port(tensor.name, _torch_shape(tensor), time_axis)


def _float_caches(file: StageFile) -> Iterator[Cache]:
    for cache in file.caches:
        yield Cache(cache.tensor.name, _torch_shape(cache.tensor), float(cache.initial) * 2.0**cache.tensor.exponent)
    for tensor in file.native_caches:
        yield Cache(tensor.name, _torch_shape(tensor))


def _torch_shape(tensor: TensorInfo) -> tuple[int, ...]:
    sizes = dict(zip(tensor.layout, tensor.shape, strict=True))
    return tuple(sizes[axis] for axis in range(len(tensor.shape)))
