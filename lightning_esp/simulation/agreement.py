"""The files of a model against what a manifest says of their tensors, before anything is computed with both."""

from __future__ import annotations

from collections.abc import Iterator

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
        for fault in find_file_faults(stage, read_espdl(stage.data)):
            raise BundleError(f"{fault}. Export again.")


def find_file_faults(stage: StageFile, file: EspdlModel) -> Iterator[str]:
    """Yield where a file is not what is said of it: names and forms of its inputs, outputs and explicit caches.

    Args:
        stage: what is said.
        file: the file.
    """
    tensors = {tensor.name: tensor for tensor in (*stage.inputs, *stage.outputs)}
    tensors |= {name: cache.tensor for cache in stage.caches for name in (cache.tensor.name, cache.next)}
    inputs = [*(tensor.name for tensor in stage.inputs), *stage.feedback]
    outputs = [*(tensor.name for tensor in stage.outputs), *stage.feedback.values()]
    for kind, ours, theirs in (("inputs", inputs, file.inputs), ("outputs", outputs, file.outputs)):
        if set(ours) != set(theirs):
            yield (
                f"stage {stage.name!r}: the {kind} are {str(sorted(ours))[:200]} in the manifest; they must be those of the "
                f"file, {sorted(theirs)}"
            )
    for name, tensor in tensors.items():
        found = file.tensors.get(name)
        form = (tensor.shape, tensor.dtype, tensor.exponent)
        if found is not None and (found.shape, str(found.dtype), found.exponent) != form:
            yield (
                f"stage {stage.name!r}: shape, dtype and exponent of tensor {name!r} are {str(form)[:100]} in the manifest; they "
                f"must be those of the file, {(found.shape, str(found.dtype), found.exponent)}"
            )
