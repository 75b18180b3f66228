"""More of the same as `zoo`, operator by operator in unusual forms; the full run compares them on every chip."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.espdl.zoo import Lambda, Network, image, of, sequence, two


def conv(outputs: int = 6, kernel: int = 1) -> nn.Conv1d:
    return nn.Conv1d(8, outputs, kernel)


def on(function: Callable[[Tensor], Tensor], outputs: int = 6) -> Network:
    """A function behind a convolution of 8 channels."""
    return of(lambda p, x: function(p["a"](x)), a=conv(outputs))


def pair(function: Callable[[Tensor, Tensor], Tensor], second: int = 6) -> Network:
    """A function of two convolutions of one input."""
    return of(lambda p, x: function(p["a"](x), p["b"](x)), a=conv(), b=conv(second))


def picture(function: Callable[[Tensor], Tensor], head: nn.Module) -> Network:
    """A function between a 2-D convolution and a head."""
    return of(lambda p, x: p["h"](function(p["a"](x))), (1, 4, 6, 5), a=nn.Conv2d(4, 8, 1), h=head)


def recurrent(layer: nn.Module, states: int, directions: int = 1) -> Network:
    def run(parts: nn.ModuleDict, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        y, after = parts["layer"](x, state if states == 2 else state[0])
        return (y, *after) if states == 2 else (y, after)

    names = ["h", "c"][:states]
    inputs = {"x": (1, 7, 8)} | dict.fromkeys(names, (directions, 1, 12))
    # Fed back: an arbitrary cell lies beyond the ends of ESP-DL's tables, which esp-ppq's own executor does not know.
    after = {name: f"{name}_next" for name in names}
    return Network(Lambda(run, layer=layer), inputs, ("y", *after.values()), after)


MORE: dict[str, Callable[[], Network]] = {
    "conv2d_dilated": lambda: image(
        nn.Conv2d(4, 16, 3, dilation=2), nn.ReLU(), nn.Conv2d(16, 8, (2, 3), stride=(1, 2), padding=(0, 1))
    ),
    "conv2d_strided": lambda: image(nn.Conv2d(4, 24, 3, stride=2, padding=1), nn.SiLU(), nn.Conv2d(24, 8, 1, stride=2)),
    "conv2d_padded_unevenly": lambda: image(nn.ConstantPad2d((2, 1, 3, 0), 0.0), nn.Conv2d(4, 8, (4, 3))),
    "depthwise2d_dilated": lambda: image(
        nn.Conv2d(16, 16, 3, groups=16, dilation=2, padding=2), nn.Conv2d(16, 4, 1), channels=16
    ),
    "depthwise2d_tall": lambda: image(nn.Conv2d(12, 12, (5, 1), groups=12, stride=(2, 1)), nn.ReLU(), channels=12),
    "conv_stride_3": lambda: sequence(nn.Conv1d(8, 17, 4, stride=3), nn.ReLU()),
    "conv_wide": lambda: sequence(nn.Conv1d(130, 33, 3), nn.Tanh(), channels=130),
    "depthwise_strided": lambda: sequence(nn.Conv1d(16, 16, 4, groups=16, stride=2), nn.ReLU(), channels=16),
    "depthwise_odd": lambda: sequence(nn.Conv1d(13, 13, 3, groups=13), nn.Conv1d(13, 5, 1), channels=13),
    "transposed_padded": lambda: sequence(nn.ConvTranspose1d(8, 12, 4, stride=2, padding=1)),
    "transposed_output_padding": lambda: sequence(nn.ConvTranspose1d(8, 12, 3, 2, 1, 1), nn.ReLU()),
    "transposed_gaps": lambda: sequence(nn.ConvTranspose1d(8, 12, 2, stride=3)),
    "transposed_dilated": lambda: sequence(nn.ConvTranspose1d(8, 12, 3, dilation=2)),
    "transposed_depthwise": lambda: sequence(nn.ConvTranspose1d(16, 16, 4, stride=2, groups=16), channels=16),
    "transposed2d": lambda: image(nn.ConvTranspose2d(4, 8, (2, 3), stride=(2, 1), padding=(0, 1))),
    "linear_no_bias": lambda: Network(
        nn.Sequential(nn.Linear(33, 17, bias=False), nn.SiLU(), nn.Linear(17, 5)), {"x": (1, 33)}
    ),
    "matmul_stored": lambda: of(lambda p, x: torch.matmul(x.transpose(1, 2), torch.linspace(-1, 1, 40).reshape(8, 5))),
    "norm_of_frames": lambda: Network(nn.LayerNorm(8), {"x": (1, 6, 8)}),
    "norm_plain": lambda: Network(
        nn.Sequential(nn.Linear(16, 24), nn.LayerNorm(24, elementwise_affine=False)), {"x": (1, 16)}
    ),
    "norm_between": lambda: of(
        lambda p, x: p["b"](p["n"](p["a"](x).transpose(1, 2)).transpose(1, 2)),
        a=conv(12),
        n=nn.LayerNorm(12),
        b=nn.Conv1d(12, 6, 1),
    ),
    "max_pool2d": lambda: image(nn.Conv2d(4, 8, 3), nn.MaxPool2d((2, 3), stride=(2, 1), padding=(1, 1))),
    "average_pool2d_padded": lambda: image(nn.Conv2d(4, 8, 3), nn.AvgPool2d(3, stride=2, padding=1)),
    "global_pool": lambda: sequence(nn.Conv1d(8, 16, 1), nn.AdaptiveAvgPool1d(1), nn.Conv1d(16, 4, 1)),
    "global_max": lambda: sequence(nn.Conv1d(8, 16, 1), nn.AdaptiveMaxPool1d(1), nn.Conv1d(16, 4, 1)),
    "mean_of_channels": lambda: on(lambda y: y * y.mean(1, keepdim=True)),
    "mean_of_two_axes": lambda: picture(lambda y: y.mean((2, 3)), nn.Linear(8, 3)),
    "sum_of_frames": lambda: of(lambda p, x: p["b"](p["a"](x).sum(2, keepdim=True)), a=conv(12), b=nn.Conv1d(12, 4, 1)),
    "largest": lambda: on(lambda y: y.amax(2, keepdim=True)),
    "smallest": lambda: on(lambda y: y.amin(1)),
    "concat_of_frames": lambda: pair(lambda y, z: torch.cat((y, 4 * z), 2)),
    "concat_of_three": lambda: of(
        lambda p, x: p["c"](torch.cat((p["a"](x), torch.sigmoid(p["b"](x)), x), 1)),
        a=conv(),
        b=conv(10),
        c=nn.Conv1d(24, 6, 1),
    ),
    "split_in_three": lambda: on(
        lambda y: torch.cat([torch.tanh(part) for part in torch.split(y, [3, 5, 4], 1)][::-1], 1), 12
    ),
    "slice_with_steps": lambda: on(lambda y: y[:, 1:9:2, 2:], 12),
    "slice_from_the_end": lambda: on(lambda y: y[:, :, -5:-1] + 0.5),
    "resize_to_a_size": lambda: picture(lambda y: F.interpolate(y, size=(15, 7)), nn.Conv2d(8, 3, 1)),
    "resize_frames": lambda: of(
        lambda p, x: p["b"](F.interpolate(p["a"](x), scale_factor=3.0)), a=conv(12), b=nn.Conv1d(12, 4, 1)
    ),
    "pad_with_a_value": lambda: of(lambda p, x: p["a"](F.pad(p["a"](x), (2, 1), value=0.75)), a=conv(8)),
    "pad_mirrored": lambda: of(lambda p, x: p["b"](F.pad(p["a"](x), (3, 2), mode="reflect")), a=conv(8), b=conv(4, 3)),
    "pad_repeated": lambda: of(
        lambda p, x: p["b"](F.pad(p["a"](x), (3, 2), mode="replicate")), a=conv(8), b=conv(4, 3)
    ),
    "permute": lambda: picture(lambda y: torch.relu(y).permute(0, 2, 3, 1) * 0.5, nn.Identity()),
    "reshape": lambda: picture(lambda y: torch.relu(y).reshape(1, 8, 30).mean(2), nn.Linear(8, 3)),
    "flatten": lambda: of(
        lambda p, x: p["h"](torch.relu(p["a"](x)).flatten(1)), (1, 8, 4), a=conv(), h=nn.Linear(24, 3)
    ),
    "squeeze": lambda: of(lambda p, x: p["h"](p["a"](x).squeeze(2)), (1, 8, 3), a=conv(16, 3), h=nn.Linear(16, 3)),
    "unsqueeze": lambda: of(lambda p, x: p["c"](torch.relu(p["a"](x)).unsqueeze(1)), a=conv(), c=nn.Conv2d(1, 4, 3)),
    "clip": lambda: sequence(nn.Conv1d(8, 16, 3), nn.Hardtanh(-0.7, 1.3)),
    "gelu_tanh": lambda: sequence(nn.Conv1d(8, 16, 3), nn.GELU("tanh")),
    "prelu_shared": lambda: sequence(nn.Conv1d(8, 16, 3), nn.PReLU(1)),
    "exp": lambda: on(lambda y: torch.exp(-torch.relu(y))),
    "negative": lambda: on(lambda y: -torch.relu(y)),
    "times_a_constant": lambda: on(lambda y: y * 0.37),
    "constant_minus": lambda: on(lambda y: 1 - torch.sigmoid(y)),
    "by_a_constant": lambda: on(lambda y: y / 3.7),
    "by_one_channel": lambda: pair(lambda y, z: y / (torch.sigmoid(z) + 0.5), 1),
    "times_one_channel": lambda: pair(lambda y, z: y * torch.sigmoid(z), 1),
    "plus_one_channel": lambda: pair(lambda y, z: y + z, 1),
    "minus_one_frame": lambda: pair(lambda y, z: y - z.mean(2, keepdim=True)),
    "sub_two": lambda: two(lambda p, x, z: torch.tanh(p["a"](x)) - 2 * z, a=nn.Conv1d(8, 8, 1)),
    "gru_frames": lambda: recurrent(nn.GRU(8, 12, batch_first=True), 1),
    "lstm_frames": lambda: recurrent(nn.LSTM(8, 12, batch_first=True), 2),
}

MORE_REFUSED: dict[str, Callable[[], Network]] = {
    "channel_multiplier": lambda: sequence(nn.Conv1d(8, 16, 3, groups=8)),
    "max_pool_dilated": lambda: sequence(nn.Conv1d(8, 8, 1), nn.MaxPool1d(3, stride=1, dilation=2)),
    "average_pool_ceil": lambda: sequence(nn.Conv1d(8, 8, 1), nn.AvgPool1d(3, stride=2, ceil_mode=True)),
    "prelu2d": lambda: image(nn.Conv2d(4, 8, 3), nn.PReLU(8)),
    "log": lambda: on(lambda y: torch.log(torch.sigmoid(y) + 0.2)),
    "square_root": lambda: on(lambda y: torch.sqrt(torch.relu(y) + 0.1)),
    "softplus": lambda: sequence(nn.Conv1d(8, 16, 3), nn.Softplus()),
    "log_softmax": lambda: Network(nn.Sequential(nn.Linear(16, 6), nn.LogSoftmax(-1)), {"x": (1, 16)}),
    "resize_linear": lambda: picture(lambda y: F.interpolate(y, scale_factor=2.0, mode="bilinear"), nn.Conv2d(8, 3, 1)),
}
