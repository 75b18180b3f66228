"""Receptive field beside the recordings that the network was trained on."""

from __future__ import annotations

from lightning_esp.conversion import Recordings, StreamSpec, recording_frames


def compare_reach(spec: StreamSpec, recordings: Recordings) -> tuple[str, ...]:
    """Say that a stream will see more at once than training ever did, where it will.

    In recordings that are shorter than the receptive field every output frame saw the padding before the recording; in a
    stream there are real frames in its place, and nothing that was learned or proved says what comes of them.

    Args:
        spec: of the streaming model.
        recordings: without batch dimension, as long as those of the training.

    Returns:
        One note, or none; none, too, where the receptive field is not known.
    """
    reach = spec.receptive_field
    longest = max(recording_frames(spec, recording) for recording in recordings)
    if reach is None or reach <= longest:
        return ()
    return (
        f"the receptive field, {_told(reach, spec)}, exceeds the recordings, of which the longest has {_told(longest, spec)}: in "
        f"a stream, {_told(reach - longest, spec)} of each output frame's input are real where training had padding alone, so "
        "the network meets what it never saw. Train on longer recordings, or with sound in front of each; or use fewer layers, "
        "smaller kernels or dilations; and judge by long recordings (validation_streams).",
    )


def _told(frames: int, spec: StreamSpec) -> str:
    seconds = "" if spec.frame_period is None else f" ({frames * spec.frame_period:.3g} s)"
    return f"{frames} frame{'' if frames == 1 else 's'}{seconds}"
