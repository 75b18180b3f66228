"""Proofs of a front end on the chip: it keeps up with the sound, and its features are those of the training."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_esp.chips import SOFT_FLOAT_TARGETS
from lightning_esp.cost import Estimate, FrontEndLoad, front_end_us, network_us, share_of_time
from lightning_esp.verification.proof import Proof

# Beyond this share there is no room for what no estimate contains: the detector, the application, Wi-Fi.
USUAL_SHARE = 0.7


def keeps_up(estimate: Estimate, window: int, period_us: float, load: FrontEndLoad) -> Proof:
    """Hold the estimated time against the time between two frames.

    An estimate proves nothing, so this is amber at worst.

    Args:
        estimate: of the network.
        window: frames per window.
        period_us: microseconds from frame to frame.
        load: of the front end.

    Returns:
        The share of the time that is taken.
    """
    share = share_of_time(estimate, window, period_us, load)
    doubt = "" if share <= USUAL_SHARE else _doubt(estimate, share, period_us, load)
    return Proof("keeps up with the sound", share, 1.0, True, estimate.target if doubt else "", doubt=doubt)


def _doubt(estimate: Estimate, share: float, period_us: float, load: FrontEndLoad) -> str:
    chip, features = estimate.target, front_end_us(estimate.target, load)
    taken = f"{share:.0%} of the {period_us / 1000:g} ms from frame to frame"
    if features <= USUAL_SHARE * period_us:
        return (
            f"front end ({features:.0f} us) and network ({network_us(estimate):.0f} us a window) are estimated to take {taken}; raise Streaming(window=...), use fewer "
            "channels, or a longer FeatureConfig(frame_shift=...)"
        )
    if load.arithmetic == "float" and chip in SOFT_FLOAT_TARGETS:
        return (
            f"the front end alone takes {features / 1000:.1f} ms at least, {taken}, since {chip} computes floats in software; "
            "leave FeatureConfig(arithmetic=...) at 'auto' (with use_log_fbank=1), or use a longer frame_shift"
        )
    return f"the front end alone is estimated to take {features / 1000:.1f} ms, {taken}; use a longer FeatureConfig(frame_shift=...)"


def same_features(differences: Sequence[float], limit: float) -> Proof:
    """Hold the features in fixed point against those in float32, in which the model was trained.

    Beyond the limit a recording is odd, not the arithmetic: amber at worst.

    Args:
        differences: the largest of each recording, before mean and scale.
        limit: how far they may be apart.
    """
    worst = max(range(len(differences)), key=differences.__getitem__)
    beyond = sum(difference > limit for difference in differences)
    doubt = (
        f"in {beyond} of {len(differences)} recordings features are further than that from float32, most in recording {worst}: "
        "tones at full scale over silence do that; listen to it, or use FeatureConfig(arithmetic='float')"
        if beyond
        else ""
    )
    where = f"recording {worst}" if beyond else ""
    return Proof("features in fixed point", differences[worst], limit, True, where, doubt=doubt)
