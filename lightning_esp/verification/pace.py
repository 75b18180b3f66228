"""Proof that the chip keeps up with the sound, as far as its costs are known."""

from __future__ import annotations

from lightning_esp.cost import Estimate, front_end_us, share_of_time
from lightning_esp.verification.model import Proof

# Beyond this share there is no room for what no estimate contains: the detector, the application, Wi-Fi.
USUAL_SHARE = 0.7


def keeps_up(estimate: Estimate, window: int, period_us: float, points: int) -> Proof | None:
    """Hold the estimated time against the time between two frames.

    An estimate proves nothing, so this is amber at worst.

    Args:
        estimate: of the network.
        window: frames per window.
        period_us: microseconds from frame to frame.
        points: of the front end's Fourier transform.

    Returns:
        The share of the time that is taken; None where nobody knows what the chip takes for anything.
    """
    share = share_of_time(estimate, window, period_us, points)
    if share is None:
        return None
    doubt = "" if share <= USUAL_SHARE else _doubt(estimate, share, period_us, points)
    return Proof("keeps up with the sound", share, 1.0, True, estimate.target if doubt else "", doubt=doubt)


def _doubt(estimate: Estimate, share: float, period_us: float, points: int) -> str:
    features, of_it = (
        front_end_us(estimate.target, points),
        f"{share:.0%} of the {period_us / 1000:g} ms from frame to frame",
    )
    if features is None:
        return (
            f"the network, without the front end, is estimated to take {of_it}; raise Streaming(window=...), use fewer channels, "
            "or a longer FeatureConfig(frame_shift=...)"
        )
    return (
        f"the front end alone takes {features / 1000:.1f} ms at least, {of_it}, since {estimate.target} computes floats in "
        "software; choose a chip with a floating-point unit (esp32s3, esp32p4), or a longer FeatureConfig(frame_shift=...)"
    )
