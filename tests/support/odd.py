"""Modules of a forward alone, and what holds for each that converts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lightning_esp.config import Streaming
from lightning_esp.conversion import convert
from tests.models.pieces import Function

Make = Callable[[], nn.Module]


def make(forward: Callable[..., Any], **layers: Any) -> Make:
    """A module of a forward and its layers; with a 1x1 convolution `c` where none are given."""
    return lambda: Function(forward, **(layers or {"c": nn.Conv1d(4, 4, 1)})).double()


def agrees(module: nn.Module, shape: tuple[int, ...] = (1, 4, 30), axis: int = 2) -> None:
    """Converted, with windows of two sizes, it gives what it gives offline."""
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64)
    module = module.double().eval()
    with torch.no_grad():
        offline = module(x.clone())
    stride = convert(module, x, Streaming(time_axis=axis)).spec.stride
    for window in (stride, 3 * stride):
        streamed = convert(module, x, Streaming(time_axis=axis, window=window)).run(x)
        assert isinstance(streamed, Tensor)
        assert streamed.shape == offline.shape
        assert float((streamed - offline).abs().max()) <= 1e-10 * max(1.0, float(offline.abs().max()))
    with torch.no_grad():
        assert torch.equal(module(x.clone()), offline), "the user's module was changed"
