"""Accuracy of a stream: clips one after the other, with the state carried over, or each from the initial state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_esp.errors import ConfigurationError, DataError


@dataclass(frozen=True)
class StreamingAccuracy:
    """Share of clips that are decided rightly.

    Args:
        carried: where the clips follow each other in one recording, as a device meets them.
        reset: where each clip starts from the initial state, as a network is trained.
        clips: how many there were.
    """

    carried: float
    reset: float
    clips: int


def streaming_accuracy(
    model: Callable[[Tensor], Tensor], clips: Sequence[Tensor], targets: Sequence[int] | Tensor, frames: int
) -> StreamingAccuracy:
    """Measure what a network that was trained on single clips loses where its state is carried over from clip to clip.

    A clip is decided by the mean of its last output frames.

    Args:
        model: gives outputs `[classes, frames]` of a recording from the initial state, in float or in integers, such as
            `Simulation(bundle).run`; one output frame for each `n` input frames.
        clips: recordings without batch dimension, time on the last axis.
        targets: index of the true class of each.
        frames: output frames that decide; a clip has at least as many.

    Raises:
        ConfigurationError: `frames` is not positive.
        DataError: there are no clips, targets and clips differ in number, or a clip is too short.

    Example:
        >>> clips = [torch.tensor([[0.0, 3.0], [1.0, 1.0]]), torch.tensor([[0.0, 0.0], [0.2, 0.2]])]
        >>> found = streaming_accuracy(lambda x: x.cumsum(-1), clips, [0, 1], frames=1)
        >>> found.reset, found.carried  # the second clip meets what the first one left
        (1.0, 0.5)
    """
    if len(clips) == 0 or len(clips) != len(targets):
        raise DataError(
            f"streaming_accuracy got {len(clips)} clips and {len(targets)} targets; give one for each clip."
        )
    alone = [model(clip) for clip in clips]
    whole = model(torch.cat(list(clips), dim=-1))
    ends = torch.tensor([clip.shape[-1] for clip in clips]).cumsum(0)
    total = int(ends[-1])
    # A stride that does not divide a clip moves its end by less than a frame.
    places = [int(end) * whole.shape[-1] // total for end in ends]
    carried = [decide(whole[..., :end], frames) for end in places]
    reset = [decide(output, frames) for output in alone]
    true = [int(target) for target in targets]
    return StreamingAccuracy(_share(carried, true), _share(reset, true), len(clips))


def decide(outputs: Tensor, frames: int) -> int:
    """Return the class with the highest mean output over the last frames.

    Args:
        outputs: `[classes, frames]`.
        frames: how many of them decide.

    Raises:
        ConfigurationError: `frames` is not positive.
        DataError: there are fewer.
    """
    if frames < 1:
        raise ConfigurationError(f"frames={frames} must be at least 1.")
    if outputs.dim() != 2 or outputs.shape[-1] < frames:
        raise DataError(
            f"outputs of shape {list(outputs.shape)} do not hold {frames} frames; give [classes, frames], or decide by fewer."
        )
    return int(outputs[:, -frames:].mean(1).argmax())


def _share(decided: Sequence[int], true: Sequence[int]) -> float:
    return sum(a == b for a, b in zip(decided, true, strict=True)) / len(true)
