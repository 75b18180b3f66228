"""Numbers as C++ writes them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def float_array(name: str, values: Sequence[float]) -> str:
    """Return an array of float32 constants, each of which the compiler reads as the same number."""
    return f"inline constexpr float {name}[] = {{{', '.join(literal(float(value)) for value in values)}}};"


def literal(value: bool | int | float) -> str:
    """Return a constant; what is infinite never fires."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if math.isinf(value):
        return "streaming::kNever"
    text = f"{np.float32(value):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"
