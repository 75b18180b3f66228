"""Whole recordings: all windows at once give what stepping gives, for explicit, native and recurrent caches."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lightning_esp.errors import EspdlError, EspdlOperatorError
from lightning_esp.espdl import EspdlInterpreter, EspdlRecorder, Operator, Tensor


def draw_windows(model, feedback, batch=3, count=40, seed=0):
    random = np.random.default_rng(seed)
    shapes = {name: model.tensors[name] for name in model.inputs if name not in feedback}
    return {
        name: random.integers(-100, 100, (batch, count, *tensor.shape[1:])).astype(tensor.dtype)
        for name, tensor in shapes.items()
    }


def assert_same(first, second):
    for one, other in ((first.outputs, second.outputs), (first.caches, second.caches), (first.state, second.state)):
        assert set(one) == set(other)
        for name in one:
            assert one[name].dtype == other[name].dtype
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.fixture(scope="module")
def files(quantize):
    networks = ["streamed", "gru", "lstm", "native", "native_single", "twice_read", "conv"]
    return {item.network: item for item in quantize(networks, ("esp32s3",))}


@pytest.mark.parametrize("network", ["streamed", "gru", "lstm", "native", "conv"])
class TestWholeRecording:
    def test_equals_stepping(self, files, network):
        item = files[network]
        recorder = EspdlRecorder(EspdlInterpreter(item.model, item.target), item.feedback)
        assert recorder.reason == ""
        windows = draw_windows(item.model, item.feedback)
        assert_same(recorder.run(windows), recorder.run(windows, stepwise=True))

    def test_continues_from_where_it_stopped(self, files, network):
        item = files[network]
        recorder = EspdlRecorder(EspdlInterpreter(item.model, item.target), item.feedback)
        windows = draw_windows(item.model, item.feedback)
        first = recorder.run({name: array[:, :17] for name, array in windows.items()})
        second = recorder.run({name: array[:, 17:] for name, array in windows.items()}, first.caches, first.state)
        whole = recorder.run(windows)
        for name, array in whole.outputs.items():
            np.testing.assert_array_equal(np.concatenate((first.outputs[name], second.outputs[name]), axis=1), array)
        assert_same(second, dataclasses.replace(whole, outputs=second.outputs))

    def test_longer_than_a_block(self, files, network):
        item = files[network]
        recorder = EspdlRecorder(EspdlInterpreter(item.model, item.target), item.feedback)
        windows = draw_windows(item.model, item.feedback, batch=1, count=2100)
        whole = recorder.run(windows)
        tail = {name: array[:, 1990:] for name, array in windows.items()}
        head = recorder.run({name: array[:, :1990] for name, array in windows.items()})
        assert_same(recorder.run(tail, head.caches, head.state), dataclasses.replace(
            whole, outputs={name: array[:, 1990:] for name, array in whole.outputs.items()}
        ))  # fmt: skip


class TestFallback:
    def test_a_cache_of_another_form_is_stepped(self, files):
        item = files["twice_read"]
        recorder = EspdlRecorder(EspdlInterpreter(item.model, item.target), item.feedback)
        assert "read by 2 operators" in recorder.reason
        windows = draw_windows(item.model, item.feedback)
        assert_same(recorder.run(windows), recorder.run(windows, stepwise=True))

    def test_swapped_caches_are_not_unrolled(self, files):
        item = files["lstm"]
        recorder = EspdlRecorder(EspdlInterpreter(item.model, item.target), {"h": "c_next", "c": "h_next"})
        assert recorder.reason

    def test_a_slice_that_misses_the_latest_frame_is_not_unrolled(self, files):
        item = files["streamed"]
        model = item.model
        cut = next(operator for operator in model.operators if operator.outputs == ("a_next",))
        start, end = model.tensors[cut.inputs[1]], model.tensors[cut.inputs[2]]
        moved = {
            start.name: dataclasses.replace(start, data=np.array([-5])),
            end.name: dataclasses.replace(end, data=np.array([-1])),
        }
        shifted = dataclasses.replace(model, tensors={**model.tensors, **moved})
        recorder = EspdlRecorder(EspdlInterpreter(shifted, item.target), item.feedback)
        assert "a_next is not made of the latest frames of a" in recorder.reason


class TestNativeCaches:
    def test_against_an_explicit_form_of_the_same_file(self, files):
        item = files["native"]
        native = EspdlRecorder(EspdlInterpreter(item.model, item.target), {})
        model, feedback = make_explicit(item.model)
        explicit = EspdlRecorder(EspdlInterpreter(model, item.target), feedback)
        windows = draw_windows(item.model, {})
        one, other = native.run(windows), explicit.run(windows)
        np.testing.assert_array_equal(one.outputs["y"], other.outputs["y"])
        assert one.outputs["y"].std() > 1
        for key, cache in zip(one.state.values(), other.caches.values(), strict=True):
            np.testing.assert_array_equal(key, cache)

    def test_one_cache_equals_the_offline_network(self, files):
        """From zero state, streaming x is the offline convolution over x with zeros in front (esp-ppq's executor)."""
        item = files["native_single"]
        x, y = item.inputs["x"], item.outputs["y"]
        interpreter = EspdlInterpreter(item.model, item.target)
        outputs, _ = interpreter.step({"x": x[:, 0]}, interpreter.initial_state(len(x)))
        np.testing.assert_array_equal(outputs["y"][:, 4:], y[:, 0])

    def test_state_is_zero_at_first_and_checked(self, files):
        interpreter = EspdlInterpreter(files["native"].model, "esp32s3")
        state = interpreter.initial_state(2)
        assert sorted(cache.shape for cache in state.values()) == [(2, 2, 16), (2, 4, 8)]
        assert not any(cache.any() for cache in state.values())
        with pytest.raises(EspdlError, match="is missing; it must be int8 of shape"):
            interpreter.step({"x": np.zeros((2, 16, 8), np.int8)}, {})

    def test_an_axis_before_the_frames_is_refused(self, files):
        model = files["native"].model
        wrong = tuple(
            dataclasses.replace(operator, attributes={**operator.attributes, "frame_axis": 2})
            if operator.type == "StreamingCache"
            else operator
            for operator in model.operators
        )
        with pytest.raises(EspdlOperatorError, match=r"frame axis 2 .* would mix frames"):
            EspdlInterpreter(dataclasses.replace(model, operators=wrong), "esp32s3")


class TestArguments:
    def test_unknown_names(self, files):
        interpreter = EspdlInterpreter(files["streamed"].model, "esp32s3")
        with pytest.raises(EspdlError, match=r"feedback: \['q'\] are not among the inputs"):
            EspdlRecorder(interpreter, {"q": "a_next"})

    def test_unequal_lengths(self, files):
        item = files["streamed"]
        recorder = EspdlRecorder(EspdlInterpreter(item.model, item.target), {"a": "a_next"})
        windows = draw_windows(item.model, {"a": "a_next"})
        windows["b"] = windows["b"][:, :-1]
        with pytest.raises(EspdlError, match="every input needs the same"):
            recorder.run(windows)


def make_explicit(model):
    """Rewrite every StreamingCache as a Concat with an explicit cache and a Slice of the latest frames."""
    operators, tensors, feedback = [], dict(model.tensors), {}
    shapes = EspdlInterpreter(model, "esp32s3").shapes
    for index, operator in enumerate(model.operators):
        if operator.type != "StreamingCache":
            operators.append(operator)
            continue
        frames = operator.attributes["window_size"] - 1
        source, joined = operator.inputs[0], operator.outputs[0]
        old, new, numbers = f"cache_{index}", f"cache_{index}_next", [f"cache_{index}_{part}" for part in "sea"]
        shape = (1, frames, *shapes[source][2:])
        tensors[old] = dataclasses.replace(tensors[source], name=old, shape=shape)
        tensors[new] = dataclasses.replace(tensors[source], name=new, shape=shape)
        for name, value in zip(numbers, (-frames, 2**31 - 1, 1), strict=True):
            tensors[name] = Tensor(name, (1,), np.dtype("int64"), data=np.array([value]))
        operators.append(Operator(f"join_{index}", "Concat", {"axis": 1, "quant_type": "S8"}, (old, source), (joined,)))
        operators.append(Operator(f"keep_{index}", "Slice", {"quant_type": "S8"}, (joined, *numbers), (new,)))
        feedback[old] = new
    changed = dataclasses.replace(
        model,
        operators=tuple(operators),
        tensors=tensors,
        inputs=(*model.inputs, *feedback),
        outputs=(*model.outputs, *feedback.values()),
    )
    return changed, feedback
