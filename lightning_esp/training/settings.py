"""Options that the run itself knows, and options as code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard

from lightning_esp.config import Deployment, Streaming
from lightning_esp.training.subject import Subject


def fill_streaming(streaming: Streaming, subject: Subject) -> Streaming:
    """Take the frame period from the datamodule or the front end, where they have one and the user gave none."""
    for holder in (subject.datamodule, *subject.original.modules()):
        period = getattr(holder, "frame_period", None)
        if streaming.frame_period is None and isinstance(period, float) and period > 0:
            return replace(streaming, frame_period=period)
    return streaming


def fill_deployment(deployment: Deployment, subject: Subject) -> Deployment:
    """Take the labels from the datamodule or the LightningModule, where they have them and the user gave none."""
    for holder in (subject.datamodule, subject.original):
        for name in ("labels", "classes", "class_names"):
            labels = getattr(holder, name, None)
            if deployment.labels is None and _are_names(labels):
                return replace(deployment, labels=tuple(labels))
    return deployment


def _are_names(labels: object) -> TypeGuard[Sequence[str]]:
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        return False
    return len(labels) > 0 and all(isinstance(label, str) for label in labels)


def describe_arguments(arguments: Mapping[str, Any]) -> str:
    """Write arguments as code; paths become strings."""
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in arguments.items()}
    return ", ".join(f"{name}={value!r}" for name, value in plain.items())
