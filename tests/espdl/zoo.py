"""Small networks, one per operator or trap, that the tests quantize with esp-ppq. Imported by the worker process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Network:
    """A module with everything that export needs: input shapes by name, output names, caches fed back."""

    module: nn.Module
    inputs: dict[str, tuple[int, ...]]
    outputs: tuple[str, ...] = ("y",)
    feedback: dict[str, str] = field(default_factory=dict)
    options: dict[str, object] = field(default_factory=dict)


class Lambda(nn.Module):
    """A function around submodules, so that one line makes a network."""

    def __init__(self, function: Callable[..., object], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleDict(modules)

    def forward(self, *inputs: Tensor) -> object:
        return self.function(self.parts, *inputs)


def sequence(*layers: nn.Module, channels: int = 8, frames: int = 16) -> Network:
    return Network(nn.Sequential(*layers), {"x": (1, channels, frames)})


def image(*layers: nn.Module, channels: int = 4, size: tuple[int, int] = (12, 10)) -> Network:
    return Network(nn.Sequential(*layers), {"x": (1, channels, *size)})


def of(function: Callable[..., object], shape: tuple[int, ...] = (1, 8, 16), **modules: nn.Module) -> Network:
    return Network(Lambda(function, **modules), {"x": shape})


def two(function: Callable[..., object], **modules: nn.Module) -> Network:
    return Network(Lambda(function, **modules), {"x": (1, 8, 16), "z": (1, 8, 16)})


def streamed(residual: bool = True) -> Network:
    """Two explicit caches, in the form of a hand-written streaming block."""

    def run(parts: nn.ModuleDict, x: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        joined = torch.cat((a, x), dim=2)
        y = torch.relu(parts["first"](joined))
        following = torch.cat((b, y), dim=2)
        z = F.silu(parts["second"](following))
        z = z + y if residual else z
        return parts["last"](z), joined[:, :, -4:], following[:, :, -2:]

    parts = {
        "first": nn.Conv1d(8, 16, 3, dilation=2),
        "second": nn.Conv1d(16, 16, 3, groups=16),
        "last": nn.Conv1d(16, 5, 1),
    }
    return Network(
        Lambda(run, **parts),
        {"x": (1, 8, 3), "a": (1, 8, 4), "b": (1, 16, 2)},
        ("y", "a_next", "b_next"),
        {"a": "a_next", "b": "b_next"},
    )


def gru() -> Network:
    def run(parts: nn.ModuleDict, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        y, following = parts["gru"](x, h)
        return parts["head"](y.squeeze(0)), following

    parts = {"gru": nn.GRU(8, 12, batch_first=True), "head": nn.Linear(12, 4)}
    return Network(Lambda(run, **parts), {"x": (1, 2, 8), "h": (1, 1, 12)}, ("y", "h_next"), {"h": "h_next"})


def lstm() -> Network:
    def run(parts: nn.ModuleDict, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        y, (hidden, carry) = parts["lstm"](x, (h, c))
        return y * 0.5, hidden, carry

    return Network(
        Lambda(run, lstm=nn.LSTM(8, 12, batch_first=True)),
        {"x": (1, 3, 8), "h": (1, 1, 12), "c": (1, 1, 12)},
        ("y", "h_next", "c_next"),
        {"h": "h_next", "c": "c_next"},
    )


def lstm_any_state() -> Network:
    """One frame from any state, also from cells that no window leaves behind."""

    def run(parts: nn.ModuleDict, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        y, (hidden, carry) = parts["lstm"](x, (h, c))
        return y, hidden, carry

    inputs = {"x": (1, 1, 8), "h": (1, 1, 12), "c": (1, 1, 12)}
    return Network(Lambda(run, lstm=nn.LSTM(8, 12, batch_first=True)), inputs, ("y", "h_next", "c_next"))


def wide() -> Network:
    """A layer whose product sums leave 20 bits: many inputs, all weights positive."""
    layer = nn.Linear(512, 16)
    layer.weight.data.abs_()
    return Network(layer, {"x": (1, 512)})


def native() -> Network:
    """Two convolutions, the second depthwise, each behind a StreamingCache that it alone reads."""
    layers = nn.Sequential(nn.Conv1d(8, 16, 3, dilation=2), nn.ReLU(), nn.Conv1d(16, 16, 3, groups=16), nn.SiLU())
    table = [
        {"x": {"window_size": 5, "op_name": "/0/Conv", "frame_axis": 1}},
        {"/1/Relu_output_0": {"window_size": 3, "op_name": "/2/Conv", "frame_axis": 1}},
    ]
    return Network(layers, {"x": (1, 8, 16)}, options={"streaming_table": table})


def native_single() -> Network:
    """One convolution behind a StreamingCache."""
    table = [{"x": {"window_size": 5, "op_name": "/0/Conv", "frame_axis": 1}}]
    layers = nn.Sequential(nn.Conv1d(8, 16, 5), nn.SiLU())
    return Network(layers, {"x": (1, 8, 16)}, options={"streaming_table": table})


def twice_read() -> Network:
    """A cache that two operators read, so that windows must be stepped."""

    def run(parts: nn.ModuleDict, x: Tensor, a: Tensor) -> tuple[Tensor, ...]:
        joined = torch.cat((a, x), dim=2)
        return parts["first"](joined) + parts["last"](a)[:, :, :3], joined[:, :, -4:]

    parts = {"first": nn.Conv1d(8, 6, 3, dilation=2), "last": nn.Conv1d(8, 6, 1)}
    return Network(Lambda(run, **parts), {"x": (1, 8, 3), "a": (1, 8, 4)}, ("y", "a_next"), {"a": "a_next"})


def mixed() -> Network:
    """An int8 network with one convolution in int16."""
    layers = nn.Sequential(nn.Conv1d(8, 16, 3), nn.ReLU(), nn.Conv1d(16, 12, 3), nn.Conv1d(12, 6, 1))
    return Network(layers, {"x": (1, 8, 16)}, options={"int16": ["/2/Conv"]})


def mean_pool(parts: nn.ModuleDict, x: Tensor) -> Tensor:
    return parts["head"](parts["conv"](x).mean(2))


ZOO: dict[str, Callable[[], Network]] = {
    "conv": lambda: sequence(nn.Conv1d(8, 20, 3)),
    "conv_no_bias": lambda: sequence(nn.Conv1d(8, 16, 3, bias=False)),
    "conv_strided_dilated": lambda: sequence(nn.Conv1d(8, 24, 3, stride=2, dilation=2)),
    "conv_relu": lambda: sequence(nn.Conv1d(8, 16, 5), nn.ReLU()),
    "depthwise": lambda: sequence(nn.Conv1d(20, 20, 3, groups=20), nn.Conv1d(20, 8, 1), channels=20),
    "depthwise_dilated": lambda: sequence(nn.Conv1d(16, 16, 5, groups=16, dilation=3, bias=False), channels=16),
    "conv2d": lambda: image(nn.Conv2d(4, 18, 3, padding=1), nn.ReLU(), nn.Conv2d(18, 8, (3, 1), stride=(2, 1))),
    "depthwise2d": lambda: image(nn.Conv2d(16, 16, 3, padding=1, groups=16, stride=2), channels=16),
    "transposed": lambda: sequence(nn.ConvTranspose1d(8, 12, 4, stride=2), nn.ReLU()),
    "linear": lambda: Network(nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 7)), {"x": (1, 16)}),
    "residual": lambda: of(lambda p, x: torch.relu(p["a"](x)) + p["b"](x), a=nn.Conv1d(8, 8, 1), b=nn.Conv1d(8, 8, 1)),
    "add_two": lambda: two(lambda p, x, z: p["a"](x) + 3 * z, a=nn.Conv1d(8, 8, 1)),
    "sub": lambda: two(lambda p, x, z: p["a"](x) - z, a=nn.Conv1d(8, 8, 1)),
    "mul": lambda: two(lambda p, x, z: p["a"](x) * z, a=nn.Conv1d(8, 8, 1)),
    "div": lambda: two(lambda p, x, z: p["a"](x) / (torch.sigmoid(z) + 0.5), a=nn.Conv1d(8, 8, 1)),
    "gate": lambda: of(
        lambda p, x: p["a"](x) * torch.sigmoid(p["g"](x.mean(2, keepdim=True))),
        a=nn.Conv1d(8, 16, 1),
        g=nn.Conv1d(8, 16, 1),
    ),
    "silu": lambda: sequence(nn.Conv1d(8, 16, 3), nn.SiLU()),
    "sigmoid": lambda: sequence(nn.Conv1d(8, 16, 3), nn.Sigmoid()),
    "tanh": lambda: sequence(nn.Conv1d(8, 16, 3), nn.Tanh()),
    "hardswish": lambda: sequence(nn.Conv1d(8, 16, 3), nn.Hardswish()),
    "hardsigmoid": lambda: sequence(nn.Conv1d(8, 16, 3), nn.Hardsigmoid()),
    "leaky": lambda: sequence(nn.Conv1d(8, 16, 3), nn.LeakyReLU(0.2)),
    "relu6": lambda: sequence(nn.Conv1d(8, 16, 3), nn.ReLU6()),
    "elu": lambda: sequence(nn.Conv1d(8, 16, 3), nn.ELU()),
    "average_pool": lambda: sequence(nn.Conv1d(8, 16, 3), nn.AvgPool1d(2)),
    "average_pool3": lambda: sequence(nn.Conv1d(8, 16, 3), nn.AvgPool1d(3, stride=2, padding=1)),
    "average_pool2d": lambda: image(nn.Conv2d(4, 8, 3), nn.AvgPool2d((2, 3))),
    "max_pool": lambda: sequence(nn.Conv1d(8, 16, 3), nn.MaxPool1d(3, stride=2, padding=1)),
    "global_pool2d": lambda: image(nn.Conv2d(4, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)),
    "mean": lambda: of(mean_pool, conv=nn.Conv1d(8, 16, 3), head=nn.Linear(16, 5)),
    "concat": lambda: of(lambda p, x: torch.cat((p["a"](x), p["b"](x)), 1), a=nn.Conv1d(8, 4, 1), b=nn.Conv1d(8, 6, 1)),
    "split": lambda: of(
        lambda p, x: torch.add(*[torch.tanh(part) for part in torch.split(p["a"](x), [6, 6], 1)]), a=nn.Conv1d(8, 12, 1)
    ),
    "slice": lambda: of(lambda p, x: p["a"](x)[:, :, 1:-2], a=nn.Conv1d(8, 12, 1)),
    "pad": lambda: sequence(nn.ConstantPad1d((4, 0), 0.0), nn.Conv1d(8, 12, 5)),
    "transpose": lambda: of(lambda p, x: torch.relu(p["a"](x)).transpose(1, 2), a=nn.Conv1d(8, 12, 1)),
    "layer_norm": lambda: Network(nn.Sequential(nn.Linear(16, 24), nn.LayerNorm(24)), {"x": (1, 16)}),
    "softmax": lambda: Network(nn.Sequential(nn.Linear(16, 6), nn.Softmax(-1)), {"x": (1, 16)}),
    "upsample": lambda: image(nn.Conv2d(4, 8, 3), nn.Upsample(scale_factor=2), nn.Conv2d(8, 4, 1)),
    "streamed": streamed,
    "gru": gru,
    "lstm": lstm,
    "lstm_any_state": lstm_any_state,
    "native": native,
    "native_single": native_single,
    "twice_read": twice_read,
    "prelu": lambda: sequence(nn.Conv1d(8, 16, 3), nn.PReLU(16)),
    "linear_3d": lambda: Network(nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 5)), {"x": (1, 6, 8)}),
    "padded_both": lambda: sequence(
        nn.Conv1d(8, 16, 3, padding=1), nn.ReLU(), nn.Conv1d(16, 8, 5, padding=2, stride=2)
    ),
    "mixed": mixed,
    "wide": wide,
    "grouped": lambda: sequence(nn.Conv1d(8, 16, 3, groups=2)),
    "matmul": lambda: two(lambda p, x, z: torch.matmul(x, z.transpose(1, 2)) + 0.5),
    "glu": lambda: of(lambda p, x: F.glu(p["a"](x), 1), a=nn.Conv1d(8, 12, 1)),
    "erf": lambda: sequence(nn.Conv1d(8, 8, 1), nn.GELU()),
}

# Those that the interpreter computes bit for bit.
OPERATORS = [
    "conv", "conv_no_bias", "conv_strided_dilated", "conv_relu", "depthwise", "depthwise_dilated", "conv2d",
    "depthwise2d", "transposed", "linear", "residual", "add_two", "sub", "mul", "div", "gate", "silu", "sigmoid", "tanh",
    "hardswish", "hardsigmoid", "leaky", "relu6", "elu", "average_pool", "average_pool3", "average_pool2d", "max_pool",
    "global_pool2d", "mean", "concat", "split", "slice", "pad", "transpose", "layer_norm", "softmax", "upsample", "gru",
    "lstm",
]  # fmt: skip


def random_network(seed: int) -> Network:
    """A random stack of causal layers, with random widths, kernels and activations."""
    draw = torch.Generator().manual_seed(seed)

    def pick(*options: object) -> object:
        return options[int(torch.randint(len(options), (), generator=draw))]

    channels, frames, layers = int(pick(4, 8, 13, 16, 24)), 24, []
    start = channels
    for _ in range(int(pick(1, 2, 3, 4))):
        width = int(pick(5, 8, 16, 19, 32))
        kernel, dilation = int(pick(1, 2, 3, 5)), int(pick(1, 2, 3))
        span = (kernel - 1) * dilation
        if span >= frames - 2:
            kernel, span = 1, 0
        stride = int(pick(1, 1, 1, 2)) if frames - span > 6 else 1
        frames = (frames - span - 1) // stride + 1
        if pick(True, False):
            layers.append(nn.Conv1d(channels, channels, kernel, stride, dilation=dilation, groups=channels))
            layers.append(nn.Conv1d(channels, width, 1, bias=bool(pick(True, False))))
        else:
            layers.append(nn.Conv1d(channels, width, kernel, stride, dilation=dilation))
        channels = width
        if pick(True, False):
            layers.append(nn.BatchNorm1d(channels))
        layers.append(pick(nn.ReLU, nn.SiLU, nn.Tanh, nn.Hardswish, nn.Sigmoid, nn.ReLU6, nn.Identity, nn.LeakyReLU)())
        if frames >= 6 and pick(True, False, False):
            layers.append(pick(nn.AvgPool1d(2), nn.MaxPool1d(2), nn.AvgPool1d(4, stride=2)))
            frames = (
                frames - (4 if getattr(layers[-1], "stride", None) == (2,) and layers[-1].kernel_size == (4,) else 2)
            ) // 2 + 1
    return Network(nn.Sequential(*layers), {"x": (1, start, 24)})
