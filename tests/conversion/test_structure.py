"""Outputs in dicts, lists and dataclasses: which tensors there are, which are kept, and what stands in place of the rest."""

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from lightning_esp import Streaming, calibrate, convert, export, quantize, simulate, verify, verify_bundle
from lightning_esp.bundle import read_both
from lightning_esp.conversion.example import name_example
from lightning_esp.conversion.structure import NotKept, make_structure, tensors_in
from lightning_esp.errors import ConfigurationError, ConversionError
from lightning_esp.simulation import QuantizedStreaming
from lightning_esp.verification import TaskResult
from tests.models.pieces import CausalConv


class Pair(NamedTuple):
    score: Tensor
    hidden: Tensor


@dataclass(frozen=True)
class Scores:
    logits: Tensor
    hidden: Tensor | None = None


class ModelOutput(OrderedDict[str, Any]):
    """As that of transformers: keys are attributes as well."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        super().__setattr__(key, value)


class Heads(nn.Module):
    """Two heads, and whatever `give` makes of them and the hidden layer."""

    def __init__(self, give: Callable[[Tensor, Tensor], object]) -> None:
        super().__init__()
        self.give, self.conv, self.head = give, CausalConv(4, 6, 3), CausalConv(6, 3, 2)

    def forward(self, x: Tensor) -> object:
        hidden = torch.relu(self.conv(x))
        return self.give(self.head(hidden), hidden)


GIVEN: dict[str, tuple[Callable[[Tensor, Tensor], object], str]] = {
    "a dict": (lambda y, h: {"logits": y, "hidden": h}, "logits"),
    "a dict in a dict": (lambda y, h: {"out": {"logits": y, "all": [h, h]}, "n": 3}, "out.logits"),
    "a list in a tuple": (lambda y, h: (y, [h]), "0"),
    "a tuple in a list": (lambda y, h: [(h, y), None], "0.1"),
    "a dataclass": (lambda y, h: Scores(y, h), "logits"),
    "a named tuple": (lambda y, h: Pair(y, h), "score"),
    "a ModelOutput": (lambda y, h: ModelOutput(logits=y, hidden=h), "logits"),
    "a flat tuple": (lambda y, h: (h, y), "1"),
}

ALONE: dict[str, Callable[[Tensor, Tensor], object]] = {
    "a dict": lambda y, h: {"logits": y},
    "a tuple": lambda y, h: (y,),
    "a list": lambda y, h: [y],
    "beside None": lambda y, h: (y, None),
    "a dataclass": lambda y, h: Scores(y),
    "a dict in a list": lambda y, h: [{"out": y, "loss": None}],
}


def offline(module: Heads, x: Tensor) -> Tensor:
    with torch.no_grad():
        return module.head(torch.relu(module.conv(x)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", GIVEN)
def test_the_tensor_that_is_named_is_streamed(name: str) -> None:
    give, path = GIVEN[name]
    module, x = Heads(give).eval(), torch.randn(1, 4, 30)
    model = convert(module, x, Streaming(outputs=path))
    assert torch.allclose(model.run(x), offline(module, x), atol=1e-5)
    assert model.spec.structure is not None
    assert model.spec.structure.names == (path,)
    assert len(module._forward_hooks) == 0, "the user's module stays as it is"


@pytest.mark.parametrize("name", ALONE)
def test_the_only_tensor_is_taken_by_itself(name: str) -> None:
    module, x = Heads(ALONE[name]).eval(), torch.randn(1, 4, 30)
    assert torch.allclose(convert(module, x).run(x), offline(module, x), atol=1e-5)


def test_several_are_kept_in_the_order_of_their_names() -> None:
    module, x = Heads(lambda y, h: {"logits": y, "states": [h], "loss": None}).eval(), torch.randn(1, 4, 30)
    first, second = convert(module, x, Streaming(outputs=["states.0", "logits"])).run(x)
    assert torch.allclose(second, offline(module, x), atol=1e-5)
    assert first.shape == (1, 6, 30)


@pytest.mark.parametrize("name", [name for name in GIVEN if name not in ("a flat tuple", "a named tuple")])
@pytest.mark.parametrize("shape", [(1, 4, 20), (4, 20)])
def test_a_choice_that_was_not_made_is_asked_for_with_names_and_shapes(name: str, shape: tuple[int, ...]) -> None:
    give, path = GIVEN[name]
    with pytest.raises(ConversionError, match=r"Its tensors are '.* \[1, \d, 20\]") as caught:
        name_example(Heads(give), torch.randn(shape))
    assert f"{path!r} [1, 3, 20]" in str(caught.value)
    assert "Say which the chip is to give, Streaming(outputs=" in str(caught.value)


def test_what_is_in_a_list_is_told_apart_from_the_rest() -> None:
    with pytest.raises(ConversionError, match=r"tuple of 2 .* output 1 is a list of 1 tensor"):
        convert(Heads(lambda y, h: (y, [h])), torch.randn(4, 30))


def test_a_name_that_is_not_there_is_an_error_with_those_that_are() -> None:
    with pytest.raises(ConversionError, match=r"names 'logit', but .*'logits' .* 'hidden'"):
        convert(Heads(GIVEN["a dict"][0]), torch.randn(4, 30), Streaming(outputs="logit"))


def test_nothing_that_is_a_tensor_is_an_error() -> None:
    with pytest.raises(ConversionError, match=r"a dict with the keys \['loss'\]; return a tensor"):
        convert(Heads(lambda y, h: {"loss": None}), torch.randn(4, 30))


@pytest.mark.parametrize("outputs", ["", [], ["a", "a"], [""]])
def test_outputs_that_cannot_be_meant_are_refused(outputs: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Streaming\(outputs="):
        Streaming(outputs=outputs)


@pytest.mark.parametrize("name", GIVEN)
def test_the_same_structure_comes_back_of_other_tensors(name: str) -> None:
    give, path = GIVEN[name]
    y, hidden, other = torch.zeros(1, 3), torch.ones(1, 3), torch.full((1, 3), 2.0)
    result = give(y, hidden)
    structure = make_structure(result, path)
    assert structure is not None
    filled = structure.fill([other])
    assert type(filled) is type(result)
    assert [found for found, _ in tensors_in(filled)] == [path]
    assert dict(tensors_in(filled))[path] is other
    assert {path for path, _ in tensors_in(result)} > {path}, "what was given is left as it is"


USES: dict[str, Callable[[Any], Any]] = {
    "a torch function": torch.relu,
    "the second operand": lambda h: torch.ones(2) + h,
    "a method": lambda h: h.mean(),
    "an index": lambda h: h[0],
    "a sum": lambda h: h + 1,
    "in a list": lambda h: torch.cat([torch.ones(1, 2), h]),
}


@pytest.mark.parametrize("use", USES)
def test_what_is_not_kept_is_named_when_it_is_used(use: str) -> None:
    with pytest.raises(ConversionError, match=r"'out\.h' .*'y' alone.*outputs=\['y', 'out\.h'\]"):
        USES[use](NotKept("out.h", ("y",)))


def test_an_export_gives_a_metric_of_the_users_what_forward_gives(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, recordings = Heads(GIVEN["a dict"][0]).eval(), [torch.randn(4, n) for n in (30, 41)]
    seen: list[Any] = []

    def evaluate(stream: nn.Module) -> TaskResult:
        seen.append(stream(recordings[0][None]))
        return TaskResult({}, {}, (), ())

    bundle = export(module, recordings, tmp_path / "bundle", streaming=Streaming(outputs="logits"), evaluate=evaluate)
    (found,) = seen
    assert set(found) == {"logits", "hidden"}
    assert torch.equal(found["logits"][0], simulate(bundle, recordings[0]))
    with pytest.raises(ConversionError, match="output 'hidden' of forward was read"):
        found["hidden"].mean()


NAMED: dict[str, tuple[Callable[[Tensor, Tensor], object], list[str]]] = {
    "a dict": (GIVEN["a dict"][0], ["logits"]),
    "a dict in a dict": (GIVEN["a dict in a dict"][0], ["out.all.1", "out.logits"]),
    "a dataclass": (GIVEN["a dataclass"][0], ["hidden", "logits"]),
    "a named tuple": (GIVEN["a named tuple"][0], ["score", "hidden"]),
    "one tensor twice": (lambda y, h: {"logits": y, "again": y}, ["again", "logits"]),
    "what no C++ name can hold": (lambda y, h: {'vad "?\n': y, "größe": h}, ["größe", 'vad "?\n']),
}


@pytest.mark.parametrize("name", NAMED)
def test_the_names_of_kept_outputs_go_into_the_bundle_and_come_back(name: str, tmp_path: Path) -> None:
    give, names = NAMED[name]
    torch.manual_seed(0)
    module, recordings = Heads(give).eval(), [torch.randn(4, n) for n in (30, 41)]
    bundle = export(module, recordings, tmp_path / "bundle", streaming=Streaming(outputs=names), rehearsal=True)
    streaming = bundle.manifest["streaming"]
    assert [streaming["names"][port] for port in streaming["outputs"]] == names
    spec = read_both(bundle.path)[1].spec
    assert list(spec.output_names.items()) == [(port, streaming["names"][port]) for port in streaming["outputs"]]
    assert spec.structure is not None
    assert spec.structure.fill([torch.zeros(1)] * len(names)) == dict.fromkeys(names, torch.zeros(1))
    header = (bundle.path / "components/lesp_model/esp32s3/model_config.hpp").read_text()
    listed = re.search(r"kOutputNames\[\] = \{\n(.*?)\};", header, re.DOTALL)
    assert listed is not None
    # C++ escapes a question mark, Python does not; all else means the same in both.
    literals = [eval(f"b{line.strip().removesuffix(',')}".replace("\\?", "?")) for line in listed[1].splitlines()]
    assert [text.decode() for text in literals] == names
    verify_bundle(bundle)


def test_a_plain_output_has_no_other_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    bundle = export(CausalConv(4, 6, 3).eval(), [torch.randn(4, 30)], tmp_path / "bundle", rehearsal=True)
    assert "names" not in bundle.manifest["streaming"]
    assert read_both(bundle.path)[1].spec.structure is None
    assert "kOutputNames" not in (bundle.path / "components/lesp_model/esp32s3/model_config.hpp").read_text()


def test_the_verbs_agree_on_what_is_kept() -> None:
    torch.manual_seed(0)
    module, recordings = Heads(GIVEN["a list in a tuple"][0]).eval(), [torch.randn(4, n) for n in (30, 41)]
    model = convert(module, recordings[0], Streaming(outputs="0"))
    quantized = quantize(model, calibrate(model, recordings))
    assert all(proof.passed for proof in verify(module, model, quantized, recordings).proofs)
    assert isinstance(QuantizedStreaming(quantized)(recordings[0][None]), Tensor)
