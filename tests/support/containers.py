"""Handmade models that are packed as containers."""

from __future__ import annotations

from tests.bundle import handmade

CASES = {
    "kws": handmade.one_stage,
    "vad": handmade.three_stages,
    "int16": handmade.int16_stage,
    "image": handmade.image_stage,
    "rnn": handmade.recurrent_stages,
    "mixed": handmade.mixed_stage,
    "paced": handmade.paced_stage,
}
