"""Sources of a quantized graph's parameters in the user's module: found by values, computed with gradients.

Between `module.weight` and the weight of a file lie the conversion, torch's ONNX exporter, which folds batch norms, and the
rewrites of esp-ppq. None of them is asked. A copy of the module gets values of which no two are alike and goes the same way;
what comes out then tells where it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from lightning_esp.conversion import inner_module
from lightning_esp.quantization import Array

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
Formula = Literal["tensor", "joined", "scaled", "shifted", "gain", "offset"]


@dataclass(frozen=True)
class Source:
    """A tensor that is computed from a module.

    Args:
        formula: `"tensor"` itself; all parameters of a layer, `"joined"` in a row; a layer's weight `"scaled"` or its bias
            `"shifted"` by the batch norm behind it; the `"gain"` or `"offset"` of a batch norm that stands alone.
        layer: path of the layer.
        name: of the tensor in it.
        norm: path of the batch norm; "" where there is none.
    """

    formula: Formula
    layer: str
    name: str = ""
    norm: str = ""

    def compute(self, module: nn.Module) -> Tensor:
        """Compute it in float32, operation by operation as the export does."""
        if self.formula == "tensor":
            return _tensor(module, self.layer, self.name).float()
        if self.formula == "joined":
            part = _part(module, self.layer)
            return torch.cat([_tensor(module, self.layer, name).float().reshape(-1) for name in _names(part)])
        norm = _part(module, self.norm)
        if self.formula in ("gain", "offset"):
            gain, offset = _affine(norm)
            return gain.float() if self.formula == "gain" else offset.float()
        bias, mean, gain = _folded(norm)
        value: Tensor | None = getattr(_part(module, self.layer), self.name)
        if self.formula == "scaled":
            assert value is not None
            return value.float() * gain.reshape(-1, *[1] * (value.ndim - 1))
        return ((torch.zeros_like(mean) if value is None else value.float()) - mean) * gain + bias

    def tensors(self, module: nn.Module) -> list[Tensor]:
        """Return the parameters that it depends on."""
        parts = [_part(module, path) for path in {self.layer, self.norm} - {""}] or [module]
        return [tensor for part in parts for tensor in part.parameters()]


def _part(module: nn.Module, path: str) -> nn.Module:
    """Return a submodule by its path in a copy without wrappers, such as those of `torch.compile`."""
    module = inner_module(module)
    for name in filter(None, path.split(".")):
        module = inner_module(module.get_submodule(name))
    return module


def _tensor(module: nn.Module, path: str, name: str) -> Tensor:
    found: Tensor = getattr(_part(module, path), name)
    return found


def _statistics(norm: nn.Module) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    assert isinstance(norm, _NORMS)
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    weight = torch.ones_like(mean) if norm.weight is None else norm.weight
    bias = torch.zeros_like(mean) if norm.bias is None else norm.bias
    return weight, bias, mean, variance


def _folded(norm: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Bias, mean and gain of a batch norm, as torch's exporter folds it."""
    weight, bias, mean, variance = (value.float() for value in _statistics(norm))
    assert isinstance(norm, _NORMS)
    return bias, mean, weight / torch.sqrt(variance + norm.eps)


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Gain and offset of a batch norm in doubles, as `rewrites.norms` writes them."""
    weight, bias, mean, variance = (value.double() for value in _statistics(norm))
    assert isinstance(norm, _NORMS)
    gain = weight / torch.sqrt(variance + norm.eps)
    return gain, bias - mean * gain


@dataclass(frozen=True, eq=False)
class Place:
    """A source, and where its values lie in a tensor of a file.

    Args:
        source: the source.
        shape: of the tensor in the file.
        places: index into the flat source for each element; -1 for a zero. None: the source as it is, or with its axes in
            another order.
        axes: order of the axes of the source without those of length 1.
    """

    source: Source
    shape: tuple[int, ...]
    places: Array | None = None
    axes: tuple[int, ...] = ()

    def compute(self, module: nn.Module) -> Tensor:
        """Compute the values in the shape of the file."""
        value = self.source.compute(module)
        if self.places is None:
            return value.squeeze().permute(self.axes).reshape(self.shape)
        flat = torch.cat([value.reshape(-1), value.new_zeros(1)])
        return flat[torch.from_numpy(self.places.reshape(-1)).to(flat.device)].reshape(self.shape)


@torch.no_grad()
def make_unlike(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give a module parameters and statistics of which no two values of a layer are alike, in place.

    Returns:
        The module.
    """
    generator = torch.Generator().manual_seed(seed)
    seen = set[int]()
    for part in module.modules():
        tensors = {name: t for name, t in _own(part) if id(t) not in seen and t.numel() > 0}
        seen |= {id(tensor) for tensor in tensors.values()}
        total = sum(tensor.numel() for tensor in tensors.values())
        peak = max((float(tensor.abs().max()) for tensor in tensors.values()), default=0.0) or 0.1
        # Without the middle of the range: a zero could be one that the export fills in.
        shares = (torch.randperm(total, generator=generator).double() + 0.3) / max(total, 1)
        parts = torch.split(shares, [tensor.numel() for tensor in tensors.values()])
        for (name, tensor), share in zip(tensors.items(), parts, strict=True):
            low, high = (0.6, 1.4) if _is_positive(part, name) else (-peak, peak)
            tensor.copy_((low + (high - low) * share).reshape(tensor.shape).to(tensor))
    return module


def _own(part: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a layer that training changes; any other buffer may be a mask or an index, which shapes the graph."""
    for name, tensor in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
        if tensor.is_floating_point() and (isinstance(part, _NORMS) or isinstance(tensor, nn.Parameter)):
            yield name, tensor


def _is_positive(part: nn.Module, name: str) -> bool:
    return isinstance(part, _NORMS) and name in ("weight", "running_var")


def find_place(module: nn.Module, values: Array, shape: tuple[int, ...]) -> Place | None:
    """Find where a parameter comes from.

    Args:
        module: has gone through `make_unlike`.
        values: the parameter that came of it, in the layout of the file.
        shape: of the tensor in the file.

    Returns:
        Its place; None where it is nowhere.
    """
    for source in _plain(module):
        tensor = source.compute(module).detach().cpu().numpy()
        axes = _find_axes(tensor, values)
        if axes is not None:
            return Place(source, shape, None, axes)
    for source in _derived(module):
        tensor = source.compute(module).detach().cpu().numpy()
        axes = _find_axes(tensor, values)
        if axes is not None:
            return Place(source, shape, None, axes)
    for path, part in module.named_modules():
        source = Source("joined", path)
        places = _find_places(source.compute(module).detach().cpu().numpy(), values) if _names(part) else None
        if places is not None:
            return Place(source, shape, places)
    return None


def _plain(module: nn.Module) -> Iterator[Source]:
    for path, part in module.named_modules():
        yield from (Source("tensor", path, name) for name in _names(part))


def _names(part: nn.Module) -> list[str]:
    """Names of a layer's own float tensors; what `torch.nn.utils.parametrize` computes from parameters is one of them."""
    names = dict.fromkeys([*part._parameters, *getattr(part, "parametrizations", {}), *part._buffers])
    found = ((name, getattr(part, name, None)) for name in names)
    return [n for n, value in found if isinstance(value, Tensor) and value.is_floating_point() and value.numel() > 0]


def _derived(module: nn.Module) -> Iterator[Source]:
    norms = [(path, part) for path, part in module.named_modules() if isinstance(part, _NORMS)]
    for path, _ in norms:
        yield Source("gain", path, norm=path)
        yield Source("offset", path, norm=path)
    for path, layer in module.named_modules():
        weight = getattr(layer, "weight", None)
        if isinstance(layer, _NORMS) or not isinstance(weight, Tensor) or weight.ndim < 2:
            continue
        for other, norm in norms:
            if norm.num_features == weight.shape[0]:
                yield Source("scaled", path, "weight", other)
                yield Source("shifted", path, "bias", other)


def _find_axes(tensor: Array, values: Array) -> tuple[int, ...] | None:
    """The order of axes that makes one array of the other, axes of length 1 aside."""
    if tensor.size != values.size:
        return None
    first, second = tensor.squeeze(), values.squeeze()
    if first.ndim != second.ndim:
        return None
    for axes in permutations(range(first.ndim)):
        if first.transpose(axes).shape == second.shape and np.array_equal(first.transpose(axes), second):
            return axes
    return None


def _find_places(tensor: Array, values: Array) -> Array | None:
    """The index of each value in the flat tensor, -1 for zeros; None where one is not in it."""
    flat, wanted = tensor.reshape(-1), values.reshape(-1)
    order = np.argsort(flat, kind="stable")
    twice = flat[order][1:][np.diff(flat[order]) == 0]
    if np.isin(wanted[wanted != 0], twice).any():
        # More values than float32 tells apart: which one it is cannot be known.
        return None
    found = np.searchsorted(flat[order], wanted).clip(max=len(flat) - 1)
    places = np.where(wanted == 0, -1, order[found])
    same = (flat[places] == wanted) | (wanted == 0)
    return places.astype(np.int64) if same.all() and (wanted != 0).any() else None


Places = Mapping[str, Place]
