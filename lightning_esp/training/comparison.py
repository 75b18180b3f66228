"""Difference between the integer stream and the float network while the user's step runs on the stream."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from lightning_esp.conversion import Keep
from lightning_esp.training.capture import tensor_arguments
from lightning_esp.training.lengths import iterate_tensors

# A confusion matrix of more classes is not drawn.
MOST_CLASSES = 40


class Comparison:
    """Takes the place of a module in a copy of the user's LightningModule: integers go on, floats are compared with them.

    Args:
        module: the float module, whose `forward` is replaced on the instance.
        stream: the integer stream.
    """

    def __init__(self, module: nn.Module, stream: nn.Module) -> None:
        self.recordings = 0
        self._signal, self._noise = 0.0, 0.0
        self._same, self._frames = 0, 0
        self._counts: Tensor | None = None
        self._classes = False
        self._stream = stream
        self._keep = Keep(_kept_names(stream))
        self._forward = module.forward
        self._signature = inspect.signature(module.forward)
        vars(module)["forward"] = self._integer_forward

    def start_batch(self, batch: Any) -> None:
        """Learn from the batch whether outputs are scores of classes: then it holds class indices."""
        self._classes = any(not t.is_floating_point() and t.dtype is not torch.bool for t in iterate_tensors(batch))

    @property
    def noise_ratio(self) -> float | None:
        """Signal-to-noise ratio of the output in dB; None where nothing differs or nothing was computed."""
        return 10 * math.log10(self._signal / self._noise) if self._signal and self._noise else None

    @property
    def frame_agreement(self) -> float | None:
        """Share of output frames whose largest score is that of the same class; None where outputs are no scores."""
        return self._same / self._frames if self._frames else None

    @property
    def frame_counts(self) -> list[list[int]]:
        """Output frames by the class that is highest in float (rows) and in integers (columns); empty as above."""
        return [] if self._counts is None else self._counts.tolist()

    def _integer_forward(self, *args: Any, **kwargs: Any) -> Any:
        tensors = tensor_arguments(self._signature, args, kwargs)
        integer, floating = self._stream(**tensors), self._forward(*args, **kwargs)
        self.recordings += len(next(iter(tensors.values())))
        ours, theirs = self._keep.take(floating), self._keep.take(integer)
        for a, b in zip(ours, theirs, strict=True):
            self._signal += float(a.double().square().sum())
            self._noise += float((a.double() - b.double()).square().sum())
        self._count_frames(ours[0], theirs[0])
        return integer

    def _count_frames(self, floating: Tensor, integer: Tensor) -> None:
        axis = _class_axis(self._stream, floating)
        if self._classes and floating.ndim == 3 and floating.shape[axis] > 1:
            rows, columns = floating.argmax(axis).flatten(), integer.argmax(axis).flatten()
            self._same += int((rows == columns).sum())
            self._frames += rows.numel()
            counts = count_decisions(rows, columns, floating.shape[axis])
            self._counts = counts if self._counts is None else self._counts + counts


def _kept_names(stream: nn.Module) -> tuple[str, ...] | None:
    quantized: Any = getattr(stream, "quantized", None)
    return None if quantized is None or quantized.spec.structure is None else quantized.spec.structure.names


def _class_axis(stream: nn.Module, output: Tensor) -> int:
    quantized: Any = getattr(stream, "quantized", None)
    return output.ndim - 1 if quantized is not None and quantized.spec.outputs[0].time_axis == 1 else 1


class DecisionRecorder:
    """Keeps the classes that the user's own torchmetrics are given.

    Args:
        module: a copy of the LightningModule; metrics in it are wrapped when the first batch comes.
    """

    def __init__(self, module: nn.Module) -> None:
        self.decisions: list[Tensor] = []
        self._targets: dict[int, list[tuple[Tensor, Tensor]]] = {}
        self._module = module
        self._started = False

    def start_batch(self) -> None:
        """Wrap the metrics; `setup` has made all of them by now."""
        if self._started:
            return
        self._started = True
        for metric in self._module.modules():
            if isinstance(metric, Metric):
                vars(metric)["update"] = self._wrap(metric.update, id(metric))

    def count(self) -> list[list[int]]:
        """Decisions that the first metric was given, by the class that is true (rows) and decided (columns).

        Empty where no metric was given classes, or more of them than a picture shows.
        """
        pairs = next(iter(self._targets.values()), [])
        if not pairs:
            return []
        decided, true = torch.cat([d for d, _ in pairs]), torch.cat([t for _, t in pairs])
        known = (true >= 0) & (decided >= 0)
        classes = 1 + int(torch.cat([decided[known], true[known], torch.zeros(1, dtype=torch.long)]).max())
        return count_decisions(true[known], decided[known], classes).tolist() if classes <= MOST_CLASSES else []

    def _wrap(self, update: Callable[..., Any], metric: int) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            predicted = args[0] if args else kwargs.get("preds")
            target = args[1] if len(args) > 1 else kwargs.get("target")
            if isinstance(predicted, Tensor) and isinstance(target, Tensor):
                self._keep(predicted, target, metric)
            return update(*args, **kwargs)

        return wrapped

    def _keep(self, predicted: Tensor, target: Tensor, metric: int) -> None:
        if not predicted.is_floating_point():
            decided = predicted.flatten().cpu()
        elif predicted.ndim == target.ndim + 1:
            decided = predicted.argmax(1).flatten().cpu()
        else:
            return
        self.decisions.append(decided)
        if not target.is_floating_point() and target.numel() == len(decided):
            pair = decided.long(), target.flatten().long().cpu()
            self._targets.setdefault(metric, []).append(pair)


def count_decisions(rows: Tensor, columns: Tensor, classes: int) -> Tensor:
    """Count pairs of class indices, `[classes, classes]`.

    Example:
        >>> count_decisions(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), 2).tolist()
        [[1, 0], [1, 1]]
    """
    return torch.bincount(rows * classes + columns, minlength=classes * classes).reshape(classes, classes)


def decision_agreement(floating: list[Tensor], integer: list[Tensor]) -> float | None:
    """Share of decisions that are the same; None where there are none to compare."""
    if not floating or [len(d) for d in floating] != [len(d) for d in integer]:
        return None
    return float((torch.cat(floating) == torch.cat(integer)).double().mean())
