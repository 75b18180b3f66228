"""A stand-in for `lightning_esp.export`: quick, and as careless with random states as an exporter may be."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_esp.bundle import Bundle
from lightning_esp.bundle.bundle import SCHEMA
from lightning_esp.verification import TaskResult


@dataclass
class Call:
    """What `export` was called with, and what the user's steps said."""

    module: nn.Module
    recordings: Sequence[Any]
    output_dir: Path
    target: tuple[str, ...]
    options: tuple[Any, ...]
    results: list[TaskResult] = field(default_factory=list)

    @property
    def state(self) -> dict[str, Tensor]:
        return self.module.state_dict()


class FakeExport:
    """Streams by the float module, plus `noise` on every output; raises `error` instead on real exports.

    Args:
        noise: standard deviation of what is added to outputs.
    """

    def __init__(self, noise: float = 0.0) -> None:
        self.calls: list[Call] = []
        self.noise = noise
        self.error: BaseException | None = None
        self.fail_dry_runs = False

    @property
    def rehearsals(self) -> list[Call]:
        return [call for call in self.calls if "tmp" in call.output_dir.parent.name]

    def __call__(
        self,
        module: nn.Module,
        recordings: Sequence[Any],
        output_dir: Path,
        target: tuple[str, ...],
        *options: Any,
        front_end: Any = None,
        evaluate: Any,
        streams: Any,
        progress: Any,
        rehearsal: bool = False,
        prepared: Any = None,
    ) -> Bundle:
        torch.rand(3), np.random.rand(2)
        assert front_end is None, "the modules of these tests take features"
        assert streams is None, "nor have they validation streams"
        assert not prepared, "nor do they train for the chip"
        call = Call(module, recordings, Path(output_dir), target, options)
        self.calls.append(call)

        if self.error is not None and rehearsal == self.fail_dry_runs:
            raise self.error
        progress("calibrate", 1, 1)
        stream = Noisy(module, self.noise)
        call.results = [evaluate(stream) for _ in target]
        metrics = {
            "float": call.results[0].float_metrics,
            "quantized": {chip: r.quantized_metrics for chip, r in zip(target, call.results, strict=True)},
        }
        manifest = {"schema": SCHEMA, "metrics": metrics, "targets": {}, "name": "model", "labels": []}
        call.output_dir.mkdir(parents=True, exist_ok=True)
        (call.output_dir / "manifest.json").write_text(json.dumps(manifest))
        return Bundle(call.output_dir, manifest, {})


class Noisy(nn.Module):
    """The float network with noise on its output."""

    def __init__(self, module: nn.Module, noise: float) -> None:
        super().__init__()
        self.module = module
        self.noise = noise

    def forward(self, *args: Tensor, **kwargs: Tensor) -> Tensor:
        out: Tensor = self.module(*args, **kwargs)
        generator = torch.Generator().manual_seed(0)
        return out + self.noise * torch.randn(out.shape, generator=generator)
