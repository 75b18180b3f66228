"""`Bundle`: an ESP-IDF project on disk, and what its manifest says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from lightning_esp.bundle.codec import decode
from lightning_esp.bundle.schema import Manifest
from lightning_esp.detection import DetectorSettings
from lightning_esp.quantization import QuantizedModel
from lightning_esp.verification import Verification

SCHEMA = "lightning_esp.bundle/3"
MANIFEST = "manifest.json"
REPORT = "report.json"
PAGE = "report.html"
COMPONENT = "components/lesp_model"


@dataclass(frozen=True)
class TargetResult:
    """Result of an export for one chip; nothing in it depends on the other chips of the bundle.

    Args:
        quantized: the model.
        verification: its proofs, golden windows and figures.
        detector: what makes events of its outputs. None: what `Deployment(detector=...)` says, if anything.
    """

    quantized: QuantizedModel
    verification: Verification
    detector: DetectorSettings | None = None


Results: TypeAlias = Mapping[str, TargetResult]
# A pair stands for a result without a detector of its own.
GivenResults: TypeAlias = Mapping[str, TargetResult | tuple[QuantizedModel, Verification]]


@dataclass(frozen=True)
class Edit:
    """A file around the model that is not what was written.

    Args:
        path: inside the bundle.
        deleted: whether it is gone.
        has_newer: whether a newer template waits beside it, as `*.new`.
    """

    path: str
    deleted: bool = False
    has_newer: bool = False

    def __str__(self) -> str:
        return self.path + (" (deleted)" if self.deleted else f" (newer: {self.path}.new)" if self.has_newer else "")


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk.

    Args:
        path: its directory.
        manifest: content of `manifest.json`.
        report: content of `report.json`.
        edits: files around the model that were edited or deleted since they were written. They are the user's, and no
            export writes over them.
    """

    path: Path
    manifest: dict[str, Any] = field(repr=False)
    report: dict[str, Any] = field(repr=False)
    edits: tuple[Edit, ...] = field(default=(), repr=False)

    @property
    def contents(self) -> Manifest:
        """The manifest as typed values.

        Raises:
            FormError: it has another form; one that was read has the right one.
        """
        found: Manifest = decode(Manifest, self.manifest)
        return found

    @property
    def targets(self) -> tuple[str, ...]:
        """The chips that it holds a model for."""
        return tuple(self.manifest["targets"])

    @property
    def name(self) -> str:
        """Name of the model, whose C++ namespace is `lesp::model_<name>`."""
        return str(self.manifest["name"])

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the output classes; empty where they are not known."""
        return tuple(self.manifest["labels"])

    @property
    def doubts(self) -> tuple[str, ...]:
        """Of every proof that is amber, which chip and proof it is, and why."""
        proofs = [proof for proof in self.manifest.get("proofs", ()) if proof["passed"] and proof.get("doubt")]
        return tuple(f"{proof['target']}: {proof['name']}: {proof['doubt']}" for proof in proofs)
