"""Work of operators, counted in one table for the streaming graph and for `.espdl` files."""

from __future__ import annotations

from lightning_esp.cost import Work, copy, pool, recurrent


def test_recurrent_layers_round_their_columns_up() -> None:
    assert recurrent(frames=2, rows=96, widths=(20, 32), written=64) == Work(1, 2 * 96 * (32 + 32), 0, 64)


def test_pools_round_their_channels_up() -> None:
    assert pool(channels=20, positions=3, taps=4, written=60) == Work(1, 0, 3 * 32 * 4, 60)


def test_rows_are_copied_sixteen_bytes_at_once() -> None:
    assert copy(320) == Work(1, 0, 0, 20)
