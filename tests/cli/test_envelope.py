"""Curves of any length as lows and highs, whatever the pieces they come in."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_esp.cli import envelope
from lightning_esp.cli.envelope import Envelope


@pytest.mark.parametrize("seed", range(20))
def test_it_holds_what_the_whole_curve_has(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "_STRETCHES", 9)
    random = np.random.default_rng(seed)
    values = random.normal(size=(int(random.integers(1, 500)), 2)).astype(np.float32)
    found = Envelope(2)
    for piece in np.split(values, sorted(random.integers(0, len(values) + 1, 12))):
        found.add(piece)
    at, lows, highs = found.draw()
    assert len(at) <= 10
    stretches = [values[start : start + found.length] for start in range(0, len(values), found.length)]
    assert np.array_equal(lows, [stretch.min(0) for stretch in stretches])
    assert np.array_equal(highs, [stretch.max(0) for stretch in stretches])
    assert at[0] == found.length / 2
