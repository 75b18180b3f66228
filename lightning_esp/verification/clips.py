"""Proof of clips in a stream: decisions of layers that run frame by frame against the network on the last frames alone.

A clip by itself starts from zeros, and so did training. In a stream the layers have seen what came before; how much that
changes the decisions is measured, since nothing else tells.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_esp.conversion import (
    OfflineClips,
    Recordings,
    StreamingModel,
    Values,
    as_tuple,
    check_recordings,
    single_thread,
)
from lightning_esp.verification.proof import Proof

# Decisions that are compared, evenly spread.
MOST = 256


@single_thread()
@torch.inference_mode()
def clips_in_stream(
    module: nn.Module, model: StreamingModel, recordings: Recordings, tolerance: float
) -> tuple[Proof, ...]:
    """Measure how decisions in the middle of a stream differ from those on the clip alone.

    Args:
        module: the offline module, or `OfflineClips` of it.
        model: its streaming form.
        recordings: without batch dimension; they are joined to one stream.
        tolerance: share of the power by which decisions vary that the difference may have before the proof is amber.

    Returns:
        One proof that never fails; none for a model that does not decide on clips, or runs as a whole on each.
    """
    clip = model.spec.clip
    if clip is None or clip.form == "sliding" or len(recordings) < 2:
        return ()
    offline = module if isinstance(module, OfflineClips) else OfflineClips(module, model.spec).eval()
    stream = _join(model, recordings)
    streamed = as_tuple(model.run(stream))
    count = streamed[0].shape[-1]
    chosen = sorted({round(i * (count - 1) / (MOST - 1)) for i in range(MOST)})
    alone = offline.decide(stream, [i * clip.hop for i in chosen])
    pairs = [(ours[..., chosen].double(), theirs.double()) for ours, theirs in zip(streamed, alone, strict=True)]
    share = max(_share(ours, theirs) for ours, theirs in pairs)
    return (_prove(share, _agreement(*pairs[0]), len(chosen), tolerance, clip.frames),)


def _join(model: StreamingModel, recordings: Recordings) -> Values:
    found = [values for values, _ in check_recordings(model.spec, recordings)]
    return {
        port.name: found[0][port.name]
        if port.time_axis is None
        else torch.cat([values[port.name] for values in found], dim=port.time_axis)
        for port in model.spec.inputs
    }


def _share(ours: Tensor, theirs: Tensor) -> float:
    """The power of the difference as a share of that by which the decisions vary."""
    varying = float((theirs - theirs.mean(-1, keepdim=True)).square().sum())
    return float((ours - theirs).square().sum()) / varying if varying > 0 else 0.0


def _agreement(ours: Tensor, theirs: Tensor) -> float | None:
    """The share of clips for which the largest value of the output is the same one; None for an output of one value."""
    ours, theirs = ours.flatten(1, -2), theirs.flatten(1, -2)
    return None if ours.shape[1] < 2 else float((ours.argmax(1) == theirs.argmax(1)).double().mean())


def _prove(share: float, agreement: float | None, count: int, tolerance: float, frames: int) -> Proof:
    said = "" if agreement is None else f", and the largest value is the same one for {agreement:.1%}"
    figure = f"{share:.2g} of the power by which the decisions vary, on {count} places of the recordings in a row{said}"
    doubt = (
        f"in the middle of a stream the decisions differ from those on the last {frames} frames alone by {figure}, since the layers "
        "remember what came before the clip, and training never saw that: train on clips with some frames before them, or let the "
        "whole network run on each clip, Streaming(clip_form='sliding')"
    )
    return Proof("clips in a stream", share, tolerance, True, figure, doubt="" if share <= tolerance else doubt)
