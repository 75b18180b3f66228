"""A hand-written `streaming_forward` that keeps its contract, and those that break it."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lightning_esp import Streaming, convert
from lightning_esp.errors import ContractError
from tests.models.contracts import CASES, Skip, TwoCaches
from tests.models.tutorial_tcn import shake


def declare(module: nn.Module, caches: dict[str, tuple[int, ...]]) -> nn.Module:
    module.streaming_caches = lambda: caches  # type: ignore[assignment]
    return module


class ReturnsAll(Skip):
    """Returns the concatenated window as its cache, which grows."""

    def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        window = torch.cat([cache, x], dim=2)
        return self.conv(window) + x, window


class ReturnsCacheOnly(Skip):
    def streaming_forward(self, x: Tensor, cache: Tensor) -> Tensor:  # type: ignore[override]
        return torch.cat([cache, x], dim=2)[:, :, -2:]


class ForgetsCache(TwoCaches):
    def streaming_forward(self, x: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return super().streaming_forward(x, near, far)[:2]


class TakesAnyCaches(TwoCaches):
    def streaming_forward(self, x: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        return super().streaming_forward(x, *caches)


class SwapsCaches(TwoCaches):
    def streaming_forward(self, x: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output, after_near, after_far = super().streaming_forward(x, near, far)
        return output, after_far, after_near


BREAKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "wrong shape declared": (
        lambda: declare(Skip(), {"cache": (7, 2)}),
        r"streaming_forward does not run on inputs and caches of shape \[\[1, 8, 4\], \[1, 7, 2\]\]: RuntimeError: .*"
        r"Check the shapes of streaming_caches\(\), which are without batch",
    ),
    "wrong name declared": (
        lambda: declare(Skip(), {"state": (8, 2)}),
        r"streaming_forward takes the caches \['cache'\] after the 1 input\(s\) of forward, but streaming_caches\(\) "
        r"declares \['state'\].*rename the keys of streaming_caches\(\) or the arguments",
    ),
    "wrong order declared": (
        lambda: declare(TwoCaches(), {"far": (8, 4), "near": (8, 2)}),
        r"takes the caches \['near', 'far'\].*declares \['far', 'near'\].*in the same order",
    ),
    "nothing declared": (
        lambda: declare(Skip(), {}),
        r"takes the caches \['cache'\].*declares \[\]",
    ),
    "wrong shape returned": (
        ReturnsAll,
        r"returned the new value of cache 'cache' with shape \[1, 8, 6\], but it took \[1, 8, 2\]; both must be equal\. "
        r"Return the last 2 frames",
    ),
    "caches returned in the wrong order": (
        SwapsCaches,
        r"new value of cache 'near' with shape \[1, 8, 4\], but it took \[1, 8, 2\].*in the order of streaming_caches",
    ),
    "no output returned": (
        ReturnsCacheOnly,
        r"returned 1 tensor\(s\) for 1 cache\(s\); it must return \(\*outputs, \*new_caches\), with at least one output",
    ),
    "a cache forgotten": (
        ForgetsCache,
        r"returned the new value of cache 'near' with shape \[1, 8, 4\]|returned 2 tensor\(s\) for 2 cache\(s\)",
    ),
}


@pytest.mark.parametrize("fault", BREAKS)
def test_a_broken_contract_is_refused(fault: str) -> None:
    make, message = BREAKS[fault]
    module = make()
    with pytest.raises(ContractError, match=re.compile(message, re.DOTALL)) as raised:
        convert(module, torch.randn(8, 30), Streaming(window=4))
    assert f"the module ({type(module).__name__})" in str(raised.value)


def test_a_broken_contract_is_named_by_its_path() -> None:
    module = CASES["skip_stages"].module()
    declare(module.get_submodule("high"), {"cache": (7, 2)})
    with pytest.raises(ContractError, match=r"module 'high' \(Skip\): streaming_forward does not run"):
        convert(module, torch.randn(8, 30), Streaming(window=2, stages=["low", "high"]))


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        (lambda: declare(Skip(), {"cache": (7, 2)}), lambda: declare(Skip(), {"cache": (8, 2)})),
        (lambda: declare(Skip(), {"state": (8, 2)}), lambda: declare(Skip(), {"cache": (8, 2)})),
        (ReturnsAll, Skip),
        (SwapsCaches, TwoCaches),
    ],
)
def test_following_the_message_converts(broken: Callable[[], nn.Module], mended: Callable[[], nn.Module]) -> None:
    with pytest.raises(ContractError):
        convert(broken(), torch.randn(8, 30), Streaming(window=4))
    module, batch = shake(mended()), torch.randn(1, 8, 30)
    with torch.no_grad():
        assert torch.allclose(convert(module, batch, Streaming(window=4)).run(batch), module(batch), atol=1e-5)


def test_variadic_caches_take_the_declared_names() -> None:
    model = convert(TakesAnyCaches(), torch.randn(8, 30), Streaming(window=4))
    assert [cache.name for cache in model.spec.caches] == ["near", "far"]


def test_a_contract_comes_before_the_automatic_form() -> None:
    # A wrong streaming_forward shows that it is the one which runs.
    class Doubled(Skip):
        def streaming_forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
            output, after = super().streaming_forward(x, cache)
            return 2 * output, after

    module, batch = shake(Doubled()), torch.randn(1, 8, 30)
    with torch.no_grad():
        assert torch.allclose(convert(module, batch, Streaming(window=5)).run(batch), 2 * module(batch), atol=1e-5)


def test_several_outputs_get_numbered_names() -> None:
    model = convert(CASES["two_outputs"].module(), torch.randn(8, 30), Streaming(window=2))
    assert [(p.name, p.shape) for p in model.spec.outputs] == [("output_0", (1, 5, 2)), ("output_1", (1, 1, 2))]


def test_the_module_itself_stays_as_it_was() -> None:
    module = CASES["two_caches"].module().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    model = convert(module, torch.randn(8, 30), Streaming(window=2))
    assert module.training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    with torch.no_grad():
        for parameter in model.stages[0].parameters():
            parameter.zero_()
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
