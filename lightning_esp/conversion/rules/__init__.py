"""The streaming rules, one small function per operator, by the name of the torch function.

To add an operator, write `rule(build, *arguments of the function) -> Stream` and enter it in the table of its file.
An operator that treats each frame alone needs one line: `"name": _plain(torch.name)` in `pointwise.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from lightning_esp.conversion.rules import (
    convolution,
    handwritten,
    joining,
    linear,
    normalization,
    padding,
    pointwise,
    pooling,
    recurrent,
    refusals,
    resampling,
    shaping,
    windows,
    writing,
)

RULES: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        **refusals.RULES,
        **pointwise.RULES,
        **shaping.RULES,
        **padding.RULES,
        **writing.RULES,
        **windows.RULES,
        **joining.RULES,
        **normalization.RULES,
        **linear.RULES,
        **pooling.RULES,
        **resampling.RULES,
        **convolution.RULES,
        **recurrent.RULES,
        **handwritten.RULES,
    }
)
