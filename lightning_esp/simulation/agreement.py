"""The files of a model against what a manifest says of their tensors, before anything is computed with both."""

from __future__ import annotations

from collections.abc import Iterable

from lightning_esp.errors import BundleError
from lightning_esp.espdl import EspdlModel, read_espdl
from lightning_esp.quantization import QuantizedModel, StageFile


def check_files(quantized: QuantizedModel) -> None:
    """Check that inputs, outputs and explicit caches have the shape, dtype and exponent of the files.

    Raises:
        BundleError: one has not; the message names stage and tensor, and both forms.
        EspdlError: a file cannot be read.
    """
    for stage in quantized.stages:
        _check_file(stage, read_espdl(stage.data))


def _check_file(stage: StageFile, file: EspdlModel) -> None:
    caches = [cache.tensor for cache in stage.caches]
    _check_names(stage, "inputs", [tensor.name for tensor in (*stage.inputs, *caches)], file.inputs)
    outputs = [*(tensor.name for tensor in stage.outputs), *(cache.next for cache in stage.caches)]
    _check_names(stage, "outputs", outputs, file.outputs)
    pairs = [(tensor.name, tensor) for tensor in (*stage.inputs, *stage.outputs, *caches)]
    for name, tensor in (*pairs, *((cache.next, cache.tensor) for cache in stage.caches)):
        found = file.tensors[name]
        theirs, ours = (found.shape, str(found.dtype), found.exponent), (tensor.shape, tensor.dtype, tensor.exponent)
        if theirs != ours:
            raise BundleError(
                f"stage {stage.name!r}: shape, dtype and exponent of tensor {name!r} are {str(ours)[:100]} in the manifest; they "
                f"must be those of the file, {theirs}. Export again."
            )


def _check_names(stage: StageFile, kind: str, ours: Iterable[str], theirs: Iterable[str]) -> None:
    if set(ours) != set(theirs):
        raise BundleError(
            f"stage {stage.name!r}: the {kind} are {str(sorted(ours))[:200]} in the manifest; they must be those of the file, "
            f"{sorted(theirs)}. Export again."
        )
