"""Modules as strangers write them: each converts and equals its offline form, or is refused in words that are true."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

from lightning_esp.config import Streaming
from lightning_esp.conversion import convert
from lightning_esp.errors import ConversionError
from tests.models.pieces import CausalConv
from tests.support.odd import Make, agrees, make

pytestmark = pytest.mark.filterwarnings(
    "ignore:.torch.jit:DeprecationWarning", "ignore:Using padding='same' with even kernel:UserWarning"
)


def accumulated(m: Any, x: Tensor) -> Tensor:
    total = torch.zeros_like(x)
    for _ in range(2):
        total += m.c(x)
    return total


def accumulated_by_shape(m: Any, x: Tensor) -> Tensor:
    b, c, t = x.shape
    total = torch.zeros(b, c, t, dtype=x.dtype)
    total = total + m.c(x)
    total.mul_(2)
    return total


def halves(m: Any, x: Tensor) -> Tensor:
    y = x.new_zeros(x.shape)
    y[:, :2] = x[:, 2:]
    y[:, 2:] += m.c(x)[:, :2]
    return y


def interleaved(m: Any, x: Tensor) -> Tensor:
    y = torch.empty_like(x)
    y[:, 0::2] = x[:, :2]
    y[:, 1::2] = m.c(x)[:, 2:]
    return y


def partly_written(m: Any, x: Tensor) -> Tensor:
    y = torch.full((x.shape[0], 6, x.shape[2]), 0.25, dtype=x.dtype)
    y[:, 1:5] = m.c(x)
    return y


def written_in_two_axes(m: Any, x: Tensor) -> Tensor:
    y = torch.zeros(x.shape[0], 4, 3, x.shape[-1], dtype=x.dtype)
    for i in range(3):
        y[:, 1:3, i] = m.c(x)[:, 1:3] * (i + 1)
    return y.flatten(1, 2)


def number_written(m: Any, x: Tensor) -> Tensor:
    y = m.c(x)
    y[:, 1] = 0.5
    y[:, ::2] *= 2
    return y


def masked(m: Any, x: Tensor) -> Tensor:
    y = m.c(x)
    y[y < 0] = 0.0
    return y


def shifted(m: Any, x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[..., 1:] = x[..., :-1]
    return m.c(y)


def into_out(m: Any, x: Tensor) -> Tensor:
    y = torch.full_like(x, 0.25)
    torch.add(x, m.c(x), out=y)
    return y


def copied_into(m: Any, x: Tensor) -> Tensor:
    y = torch.ones_like(x)
    y.copy_(m.c(x))
    return y


def parts_changed(m: Any, x: Tensor) -> Tensor:
    y = m.c(x)
    a, b = y.chunk(2, 1)
    a.mul_(2)
    b.tanh_()
    return y


def view_changed(m: Any, x: Tensor) -> Tensor:
    y = m.c(x)
    y.view(y.shape[0], 2, 2, -1).relu_()
    y.transpose(1, 2).mul_(2)
    y.detach().add_(1)
    return y


def operators_in_place(m: Any, x: Tensor) -> Tensor:
    y = F.relu(m.c(x), inplace=True)
    y += x
    y -= 0.5
    y *= x
    y /= 3
    y.clamp_(-1, 1).sigmoid_().neg_()
    return y


def input_written(m: Any, x: Tensor) -> Tensor:
    x[:, 0] = 0
    return m.c(x)


def map_kept(m: Any, x: Tensor) -> Tensor:
    m.kept, m.calls = x.softmax(1), getattr(m, "calls", 0) + 1
    return m.c(x) * m.kept


class Counter(nn.Module):
    """Counts its calls in a buffer, as batch norm does in training."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv1d(4, 4, 1)
        self.register_buffer("count", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return self.c(x)


class OwnCall(nn.Conv1d):
    """A call of its own, which runs one kind of hooks and passes no keywords to them."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self.forward(*args, **kwargs)
        for hook in (*torch.nn.modules.module._global_forward_hooks.values(), *self._forward_hooks.values()):
            changed = hook(self, args, result)
            result = result if changed is None else changed
        return result


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * 2


def swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def squared(x: Tensor) -> Tensor:
    return x * x


with warnings.catch_warnings():
    # Deprecated, and still what many networks are written with.
    warnings.simplefilter("ignore", DeprecationWarning)
    scripted_swish, scripted_square = torch.jit.script(swish), torch.jit.script_if_tracing(squared)


compiled = torch.compile(lambda x: x * torch.tanh(x), backend="eager")


@torch.no_grad()
def halved(x: Tensor) -> Tensor:
    return x / 2


class AnyArguments(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c = CausalConv(4, 4, 3)

    def forward(self, *args: Tensor, **kwargs: Any) -> Tensor:
        return self.c(args[0])


class ByKeyword(AnyArguments):
    def forward(self, *, x: Tensor, scale: float | None = None) -> Tensor:  # type: ignore[override]
        return self.c(x) * (2 if scale is None else scale)


class ByPlace(AnyArguments):
    def forward(self, x: Tensor, lengths: Tensor | None = None, /) -> Tensor:  # type: ignore[override]
        return self.c(x) if lengths is None else self.c(x) * lengths


class Layers(nn.Module):
    """Containers, and weights in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({"a": CausalConv(4, 4, 2), "b": nn.Conv1d(4, 4, 1)})
        self.scales = nn.ParameterList([nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.ones(4, 1))])

    def forward(self, x: Tensor) -> Tensor:
        for layer, scale in zip(self.layers.values(), self.scales, strict=True):
            x = layer(x) * scale
        return x


def patches(m: Any, x: Tensor) -> Tensor:
    b, c, t, f = x.shape
    return F.unfold(x, (1, 3), padding=(0, 1)).reshape(b, c * 3, t, f)


def past_patches(m: Any, x: Tensor) -> Tensor:
    b, c, t, f = x.shape
    return F.unfold(F.pad(x, (1, 1, 2, 0)), (3, 3)).view(b, c * 9, t, f).tanh()


class Held(nn.Module):
    def __init__(self, layers: nn.ModuleList) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[0](x)  # type: ignore[no-any-return]


class Reached(nn.Module):
    """Calls what its wrapper holds, as a validation with averaged weights does; `again`: the wrapper, too."""

    def __init__(self, net: Any, again: bool = False) -> None:
        super().__init__()
        self.net, self.again = net, again

    def forward(self, x: Tensor) -> Tensor:
        return self.net.module(x) + (self.net(x) if self.again else 0)  # type: ignore[no-any-return]


def compiled_in_place(module: nn.Module) -> nn.Module:
    whole = nn.Sequential(module, nn.Tanh())
    module.compile(backend="eager")
    whole.compile(backend="eager")
    return whole


def wrapped(wrap: Callable[[nn.Module], nn.Module]) -> Make:
    return lambda: wrap(nn.Sequential(CausalConv(4, 4, 3), nn.ReLU()).double())


WORKS: dict[str, Make] = {
    "accumulated": make(accumulated),
    "accumulated by shape": make(accumulated_by_shape),
    "halves written": make(halves),
    "interleaved": make(interleaved),
    "partly written": make(partly_written),
    "written in two axes": make(written_in_two_axes),
    "number written": make(number_written),
    "masked": make(masked),
    "shifted": make(shifted),
    "into out": make(into_out),
    "copied into": make(copied_into),
    "parts changed": make(parts_changed),
    "view changed": make(view_changed),
    "operators in place": make(operators_in_place),
    "input written": make(input_written),
    "map kept": make(map_kept),
    "counter": Counter,
    "instance norm of frames": make(lambda m, x: F.instance_norm(x.mT).mT),
    "rolled channels": make(lambda m, x: m.c(torch.roll(x, 1, dims=1))),
    "flipped channels": make(lambda m, x: m.c(x.flip(1))),
    "chunks by name": make(lambda m, x: torch.cat(x.chunk(chunks=2, dim=1)[::-1], 1)),
    "largest channels": make(lambda m, x: m.c(x).topk(2, dim=1).values),
    "median channel": make(lambda m, x: x - x.median(dim=1, keepdim=True).values),
    "summed channels": make(lambda m, x: m.c(x).cumsum(1)),
    "logarithm of a sum": make(lambda m, x: x - torch.logsumexp(x, 1, keepdim=True)),
    "response norm": lambda: nn.Sequential(nn.Conv1d(4, 4, 1), nn.LocalResponseNorm(3)),
    "norm of training": lambda: nn.InstanceNorm1d(4, affine=True, track_running_stats=True),
    "own call": lambda: nn.Sequential(OwnCall(4, 4, 1), nn.ReLU()),
    "autograd function": make(lambda m, x: Doubled.apply(m.c(x))),
    "scripted function": make(lambda m, x: scripted_swish(m.c(x))),
    "scripted if tracing": make(lambda m, x: scripted_square(m.c(x))),
    "compiled function": make(lambda m, x: compiled(m.c(x))),
    "decorated function": make(lambda m, x: halved(m.c(x))),
    "operator of torch.ops": make(lambda m, x: torch.ops.aten.relu.default(m.c(x))),
    "checkpointed": make(lambda m, x: checkpoint(m.c, x, use_reentrant=False)),
    "rows of a tensor": make(lambda m, x: torch.stack([2 * row for row in m.c(x).transpose(0, 1)], 1)),
    "windows of frames": make(lambda m, x: m.c(F.pad(x, (2, 0)).unfold(-1, 3, 1).amax(-1))),
    "windows of frames apart": make(lambda m, x: (x.unfold(2, 5, 2) * torch.arange(5, dtype=x.dtype)).sum(-1)),
    "any arguments": AnyArguments,
    "by place": ByPlace,
    "containers": Layers,
    "compiled": wrapped(lambda m: torch.compile(m, backend="eager")),
    "compiled inside": wrapped(lambda m: nn.Sequential(torch.compile(m, backend="eager"), nn.Tanh())),
    "averaged": wrapped(AveragedModel),
    "data parallel": wrapped(DataParallel),
    "compiled in its place": wrapped(compiled_in_place),
    "parallel in a list": wrapped(lambda m: Held(nn.ModuleList([DataParallel(m)]))),
    "reached through its wrapper": wrapped(lambda m: Reached(DataParallel(m))),
    "reached and called": wrapped(lambda m: Reached(torch.compile(AveragedModel(m), backend="eager"), again=True)),
    "wrapped twice": wrapped(lambda m: DataParallel(torch.compile(AveragedModel(m), backend="eager"))),
}  # fmt: skip


# On [1, 2, 30, 9], with bins last.
BINS: dict[str, Make] = {
    "patches": make(patches),
    "past patches": make(past_patches),
    "windows of bins": make(lambda m, x: x.unfold(3, 3, 2).amax(-1)),
    "same, even": lambda: nn.Conv2d(2, 5, (1, 4), padding="same"),
    "same, even and dilated": lambda: nn.Conv2d(2, 5, (1, 4), padding="same", dilation=(1, 3)),
    "same, causal in time": make(lambda m, x: m.c(F.pad(x, (0, 0, 2, 0))), c=nn.Conv2d(2, 5, (3, 2), padding=(0, 1))),
    "reflected bins": lambda: nn.Conv2d(2, 5, (1, 3), padding=(0, 1), padding_mode="reflect"),
    "replicated bins": make(lambda m, x: m.c(F.pad(x, (1, 1, 0, 0), mode="replicate")), c=nn.Conv2d(2, 5, (1, 3))),
    "circular bins": lambda: nn.Conv2d(2, 5, (1, 3), padding=(0, 1), padding_mode="circular"),
    "response norm": lambda: nn.LocalResponseNorm(2),
    "rolled bins": make(lambda m, x: x.roll((1, -2), (1, 3))),
    "flipped bins": make(lambda m, x: x.flip(dims=[3])),
    "sorted bins": make(lambda m, x: x.sort(dim=3)[0]),
    "norm of training": lambda: nn.InstanceNorm2d(2, track_running_stats=True),
}  # fmt: skip


@pytest.mark.parametrize("name", BINS)
def test_it_converts_over_bins(name: str) -> None:
    agrees(BINS[name](), (1, 2, 30, 9))


@pytest.mark.parametrize("name", WORKS)
def test_it_converts_and_equals_its_offline_form(name: str) -> None:
    agrees(WORKS[name]())


def test_arguments_by_keyword_are_given_by_name() -> None:
    module, x = ByKeyword().double(), torch.randn(1, 4, 30, dtype=torch.float64)
    streamed = convert(module, {"x": x}, Streaming(time_axis=2)).run({"x": x})
    assert isinstance(streamed, Tensor)
    assert torch.allclose(streamed, module(x=x), atol=1e-10)


def test_the_example_is_left_as_it_is() -> None:
    x = torch.randn(1, 4, 30, dtype=torch.float64)
    before = x.clone()
    convert(make(input_written)(), x)
    assert torch.equal(x, before)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A process group of one."""
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", rank=0, world_size=1, store=store)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


DISTRIBUTED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "whole": DistributedDataParallel,
    "a part": lambda m: nn.Sequential(DistributedDataParallel(m), nn.Tanh()),
    "around a compiled one": lambda m: DistributedDataParallel(torch.compile(m, backend="eager")),
    "compiled": lambda m: torch.compile(DistributedDataParallel(m), backend="eager"),
    "reached through it": lambda m: Reached(DistributedDataParallel(m)),
}


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("name", DISTRIBUTED)
def test_a_distributed_module_is_unwrapped(name: str) -> None:
    agrees(DISTRIBUTED[name](nn.Sequential(CausalConv(4, 4, 3), nn.ReLU()).double()))


@pytest.mark.usefixtures("alone")
def test_a_sharded_module_is_refused_by_name() -> None:
    from torch.distributed.fsdp import fully_shard

    module = nn.Sequential(nn.Sequential(nn.Conv1d(4, 4, 1)))
    fully_shard(module[0])
    with pytest.raises(ConversionError, match=r"'0' \(FSDPSequential\) is sharded by FSDP"):
        convert(module, torch.randn(4, 30))
