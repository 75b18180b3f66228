"""Modules as strangers write them that cannot stream: refused in words that are true."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DataParallel

from lightning_esp import export
from lightning_esp.config import Streaming
from lightning_esp.conversion import convert
from lightning_esp.errors import ConversionError, LightningEspError, UnsupportedOperatorError
from tests.support.odd import Make, agrees, make

pytestmark = pytest.mark.filterwarnings(
    "ignore:.torch.jit:DeprecationWarning", "ignore:Using padding='same' with even kernel:UserWarning"
)


class Remembers(nn.Module):
    """A layer that streams by itself: its past frames are a buffer that forward writes."""

    def __init__(self, assign: bool) -> None:
        super().__init__()
        self.c, self.assign = nn.Conv1d(4, 4, 3), assign
        self.register_buffer("past", torch.zeros(1, 4, 2))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([self.past.expand(x.shape[0], -1, -1), x], 2)
        if self.assign:
            self.past = y[:1, :, -2:].detach()
        else:
            self.past.copy_(y[0, :, -2:])
        return self.c(y)


class Running(nn.Module):
    """A mean that lives on in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.mean: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.mean = x if self.mean is None else 0.9 * self.mean + 0.1 * x
        return x - self.mean


class Fails(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != 80:
            raise ValueError(f"80 mel bands wanted, not {x.shape[1]}")
        return x


def one_at_a_time(m: Any, x: Tensor) -> Tensor:
    assert x.shape[0] == 1, "one recording at a time"
    return m.c(x)


def in_a_thread(m: Any, x: Tensor) -> Tensor:
    found: list[Tensor] = []
    thread = threading.Thread(target=lambda: found.append(x.clone() * 2))
    thread.start()
    thread.join()
    return m.c(x) + found[0]


def one_frame_written(m: Any, x: Tensor) -> Tensor:
    y = m.c(x)
    y[:, :, 3] = 0
    return y


def alias_read(m: Any, x: Tensor) -> Tensor:
    y = m.c(x)
    v = y[:, :3]
    y.relu_()
    return y[:, :3] + v


def other_data(m: Any, x: Tensor) -> Tensor:
    y = m.c(x)
    y.data = y.data * 2
    return y


def by_numpy(m: Any, x: Tensor) -> Tensor:
    return m.c(x) + torch.from_numpy(np.tanh(x.numpy()))


def frozen_meta() -> nn.Module:
    return nn.Sequential(nn.Conv1d(4, 4, 1, device="meta"))


CAUSAL = "F.pad"
REFUSED: dict[str, tuple[Make, tuple[str, ...]]] = {
    "scripted": (lambda: torch.jit.script(nn.Sequential(nn.Conv1d(4, 4, 1))), ("torch.jit", "load_state_dict")),
    "traced inside": (lambda: nn.Sequential(torch.jit.trace(nn.Conv1d(4, 4, 1).double(), torch.zeros(1, 4, 9).double())),
                      ("module '0' (Conv1d)", "torch.jit")),
    "scripted in a wrapper": (lambda: nn.Sequential(DataParallel(torch.jit.script(nn.Conv1d(4, 4, 1)))), ("torch.jit", "load_state")),
    "scripted and compiled": (lambda: torch.compile(torch.jit.script(nn.Conv1d(4, 4, 1)), backend="eager"), ("torch.jit",)),
    "traced function": (lambda: torch.jit.trace(torch.tanh, torch.zeros(2)), ("a ScriptFunction", "nn.Module")),
    "compiled function": (lambda: torch.compile(torch.tanh, backend="eager"), ("a function", "nn.Module")),
    "no module": (lambda: torch.tanh, ("builtin_function", "nn.Module")),  # type: ignore[return-value]
    "meta": (frozen_meta, ("module '0'", "'weight' is on the meta device", "to_empty")),
    "lazy": (lambda: nn.Sequential(nn.LazyConv1d(4, 1)), ("module '0'", "has no shape yet", "once on an example")),
    "recurrent": (lambda: nn.GRU(30, 3, batch_first=True), ("an nn.GRU by itself", "`return self.rnn(x)[0]`")),
    "no forward": (nn.Module, ("does not run on the example", "forward")),
    "own error": (Fails, ("ValueError: 80 mel bands wanted, not 4", "[1, 4, 30]")),
    "one at a time": (make(one_at_a_time), ("one recording at a time", "batch")),
    "buffer assigned": (lambda: nn.Sequential(Remembers(True)),
                        ("module '0' (Remembers)", "buffer 'past' [1, 4, 2]", "streaming_forward", '{"past": (4, 2)}')),
    "buffer copied into": (lambda: nn.Sequential(Remembers(False)), ("buffer 'past'", "streaming_forward", CAUSAL)),
    "running mean": (Running, ("attribute 'mean'", "streaming_forward")),
    "condition": (make(lambda m, x: m.c(x) if x.mean() > 0 else x), ("__bool__ reads the values",)),
    "item": (make(lambda m, x: m.c(x) * x.abs().max().item()), ("item reads the values",)),
    "tolist": (make(lambda m, x: m.c(x) * len(x[0, 0].tolist())), ("tolist reads the values",)),
    "numpy": (make(by_numpy), ("numpy reads the values",)),
    "array": (make(lambda m, x: m.c(x) * float(np.asarray(x).max())), ("__array__ reads the values",)),
    "contains": (make(lambda m, x: m.c(x) if 0.0 in x else x), ("__contains__ reads the values",)),
    "thread": (make(in_a_thread), ("changes with the contents", "another thread")),
    "random": (make(lambda m, x: m.c(x) + torch.randn(4, 1).double()), ("drawn at random",)),
    "one frame written": (make(one_frame_written), ("writes to some frames", CAUSAL)),
    "alias read": (make(alias_read), ("shares its memory", "x.clone()")),
    "other data": (make(other_data), ("x.data = ...", "not in place")),
    "whole overwritten": (make(lambda m, x: m.c(x) * 0 + m.c(x).zero_()), ("overwrites a whole tensor",)),
    "pooled by length": (make(lambda m, x: F.avg_pool1d(m.c(x), x.shape[-1])),
                         ("avg_pool1d pools all of time, 30 frames", "F.avg_pool1d(F.pad(x, (N - 1, 0)), N, stride=1)")),
    "largest by length": (make(lambda m, x: F.max_pool1d(m.c(x), x.shape[-1] // 2)),
                          ("follows the length", "F.max_pool1d(F.pad(x, (N - 1, 0)), N, stride=1)")),
    "normed by length": (make(lambda m, x: F.layer_norm(x, x.shape[1:])), ("layer_norm normalises over all of time",)),
    "half of time": (make(lambda m, x: m.c(x)[:, :, -(x.shape[-1] // 2) :]), ("keeps only the last frames", "(-15)")),
    "cut by length": (make(lambda m, x: m.c(x).narrow(1, 0, x.shape[-1] // 30)), ("number that follows",)),
    "repeated by length": (make(lambda m, x: x[:, :1].repeat(1, x.shape[-1] // 7, 1)), ("repeat", "follows the length|repeats")),
    "positions": (make(lambda m, x: x + torch.arange(x.shape[-1], dtype=x.dtype)), ("to fit the length",)),
    "ramp": (make(lambda m, x: x * torch.linspace(0, 1, x.shape[-1], dtype=x.dtype)), ("to fit the length",)),
    "embedded positions": (make(lambda m, x: x + m.p[:, : x.shape[-1]], p=nn.Parameter(torch.randn(4, 500))),
                           ("to fit the length",)),
    "logarithm of a sum over time": (make(lambda m, x: torch.logsumexp(m.c(x), 2)),
                                     ("logsumexp runs over all of time", "average the last N frames")),
    "deviation over time": (make(lambda m, x: x / x.std(-1, keepdim=True)), ("std runs over all of time",)),
    "last frames sorted": (make(lambda m, x: x.sort(-1)[0]), ("orders the frames of all of time",)),
    "rolled in time": (make(lambda m, x: x.roll(1, -1)), ("end of the recording", "F.pad(x, (n, -n))")),
    "replicated in time": (lambda: nn.Conv1d(4, 4, 3, padding=1, padding_mode="replicate"), ("mode='replicate'", "zeros")),
    "same, even, in time": (lambda: nn.Conv1d(4, 4, 4, padding="same"), ("looks ahead", "needs 2 frame(s)")),
    "instance norm": (lambda: nn.InstanceNorm1d(4), ("instance_norm normalises over all of time",)),
    "cache returned": (make(lambda m, x: (m.c(F.pad(x, (2, 0))), x[:, :, -2:]), c=nn.Conv1d(4, 4, 3)),
                       ("output 1", "[1, 4, 2]", "cache", "streaming_forward", '{"cache": (4, 2)}')),
    "index written": (make(lambda m, x: x.index_fill(1, torch.tensor([0]), 0.0)), ("index_fill", "streaming_forward")),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_words_that_are_true(name: str) -> None:
    build, words = REFUSED[name]
    with pytest.raises(LightningEspError) as raised:
        agrees_with_nothing(build())
    text = str(raised.value)
    assert [word for word in words if not any(part in text for part in word.split("|"))] == [], text


def agrees_with_nothing(module: nn.Module) -> None:
    x = torch.randn(1, 4, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    convert(module.double() if isinstance(module, nn.Module) else module, x, Streaming(time_axis=2, clip=None))


def test_the_advice_for_a_buffer_works() -> None:
    class ByHand(Remembers):
        def forward(self, x: Tensor) -> Tensor:
            return self.c(F.pad(x, (2, 0)))

        def streaming_forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
            y = torch.cat([past, x], 2)
            return self.c(y), y[:, :, -2:]

        def streaming_caches(self) -> dict[str, tuple[int, int]]:
            return {"past": (4, 2)}

    agrees(nn.Sequential(ByHand(True)))


def test_an_error_of_a_rule_names_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_esp.conversion import conversion

    def broken(*_: object, **__: object) -> None:
        raise KeyError("planted")

    monkeypatch.setattr(conversion, "RULES", {**conversion.RULES, "relu": broken})
    with pytest.raises(
        UnsupportedOperatorError, match=r"module '1' \(ReLU\): relu has a form .*KeyError: 'planted'"
    ) as raised:
        convert(nn.Sequential(nn.Conv1d(4, 4, 1), nn.ReLU()), torch.randn(4, 30))
    assert isinstance(raised.value.__cause__, KeyError)


def test_any_other_error_names_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_esp.conversion import assembly

    def broken(*_: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(assembly, "resolve_time", broken)
    with pytest.raises(ConversionError, match="Sequential was not converted: ZeroDivisionError: planted") as raised:
        convert(nn.Sequential(nn.Conv1d(4, 4, 1)), torch.randn(4, 30))
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


class Words(nn.Module):
    """Tokens, whose vectors a GRU reads."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.gru = nn.Embedding(10, 6), nn.GRU(6, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.gru(self.embed(x))[0]  # type: ignore[no-any-return]


def test_whole_numbers_stream_in_float_and_are_refused_by_an_export(tmp_path: Path) -> None:
    module, tokens = Words().eval(), torch.randint(0, 10, (1, 40))
    streamed = convert(module, tokens[0]).run(tokens)
    assert isinstance(streamed, Tensor)
    assert torch.allclose(streamed, module(tokens), atol=1e-5)
    with pytest.raises(ConversionError, match=r"input 'x' is torch\.int64.*one-hot vectors"):
        export(module, [tokens[0]] * 2, tmp_path / "bundle")


def test_complex_numbers_are_refused() -> None:
    with pytest.raises(ConversionError, match="complex64, and the chip has no complex numbers"):
        convert(nn.Conv1d(4, 4, 1), torch.randn(4, 30, dtype=torch.complex64))


def test_streams_of_two_rates_are_refused() -> None:
    class Two(nn.Module):
        def forward(self, fast: Tensor, slow: Tensor) -> Tensor:
            return fast[..., ::4] + slow

    example = {"fast": torch.randn(3, 48), "slow": torch.randn(3, 12)}
    kinds: dict[str, Any] = {"fast": "stream", "slow": "stream"}
    with pytest.raises(LightningEspError, match=r"'fast': 48, 'slow': 12.*streams need one rate"):
        convert(Two(), example, Streaming(time_axis=2, inputs=kinds))
