"""What ESP-DL asserts or leaves uncomputed is refused, and its nearest neighbour is not."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_esp.errors import EspdlOperatorError
from lightning_esp.espdl import EspdlInterpreter
from lightning_esp.espdl.kernels import KERNELS
from lightning_esp.espdl.kernels.limits import LIMITS, merged_pairs
from tests.support.one_operator import parameter, single, spread, tensor


def ints(*values):
    return parameter("p", np.array(values, np.int64))


def of(kind, shape, *parameters, dtype="int8", **attributes):
    """One operator on one activation."""
    output = tensor("y", (), "float32" if kind == "Softmax" else dtype, exponent=-2)
    named = [parameter(f"p{n}", item.data, item.exponent) for n, item in enumerate(parameters)]
    return single(kind, [tensor("x", shape, dtype, exponent=-2), *named], output, **attributes)


def two(kind, first, second):
    return single(kind, [tensor("a", first), tensor("b", second)], tensor("y", ()))


def conv(shape, *kernel, groups=1, bias=None, **attributes):
    weight = parameter("w", spread((3, 1 if groups > 1 else shape[-1], *kernel)), exponent=-2)
    extra = [] if bias is None else [parameter("bias", np.zeros(3, bias))]
    return of("Conv", shape, weight, *extra, group=groups, **attributes)


def concat(*shapes, **attributes):
    parts = [tensor(f"x{index}", shape) for index, shape in enumerate(shapes)]
    return single("Concat", parts, tensor("y", ()), **attributes)


def file_of_other_rank():
    model = of("ReduceMean", (1, 2, 3), ints(1))
    described = {**vars(model.tensors["x"]), "file_shape": (6,)}
    model.tensors["x"] = type(model.tensors["x"])(**described)
    return model


REFUSED = {
    "an empty tensor": (of("Relu", (1, 0, 3)), "without elements"),
    "an empty parameter": (of("Squeeze", (1, 3), ints()), "without elements"),
    "five turns of broadcasting": (two("Add", (2, 1, 2, 1, 2), (1, 2, 1, 2, 1)), "on 5 groups of axes"),
    "operands without axes": (two("Mul", (), ()), "no axes"),
    "operands that clash": (two("Sub", (1, 4), (1, 3)), "do not broadcast"),
    "five turns of a mean": (of("ReduceMean", (1, 2, 3, 4, 2), ints(1, 3)), "alternate 5 times"),
    "a sum over nothing": (of("ReduceSum", (1, 4), noop_with_empty_axes=1), "reduces no axis"),
    "a mean of another rank": (file_of_other_rank(), "describes x with 1 axes"),
    "one part": (concat((1, 4), axis=1), "1 input"),
    "parts that differ": (concat((1, 4), (2, 4), axis=1), "differ beside axis 1"),
    "parts of other ranks": (concat((1, 4), (1, 4, 1), axis=1), "differ beside axis 1"),
    "an axis that is none": (concat((1, 4), (1, 4), axis=2), "axis 2 is none"),
    "parts of another width": (concat((1, 4), (1, 4), axis=1, quant_type="F32"), "copy float32"),
    "a slice before the tensor": (of("Slice", (1, 8), ints(-10), ints(8), ints(1)), "reads before the tensor"),
    "a part of an axis turned around": (
        of("Slice", (1, 8), ints(-2), ints(-9), ints(1), ints(-1)),
        "takes -2:-9:-1 of axis 1; ESP-DL takes the same distance from the other end",
    ),
    "every other element backwards": (
        of("Slice", (1, 8), ints(-1), ints(-9), ints(1), ints(-2)),
        "takes -1:-9:-2 of axis 1",
    ),
    "an empty slice": (of("Slice", (1, 8), ints(4), ints(4), ints(1)), "takes nothing of axis 1"),
    "sizes that do not add up": (of("Split", (1, 8), ints(9), axis=1), "do not add up to 8"),
    "sizes of other outputs": (of("Split", (1, 8), ints(3, 5), axis=1), "not those of 1 outputs"),
    "pads of 32 bits": (of("Pad", (1, 3), parameter("p", np.zeros(4, np.int32))), "reads int64 only"),
    "an edge of five axes": (of("Pad", (1, 2, 2, 2, 2), ints(1, *[0] * 9), mode="edge"), "in mode 'constant' only"),
    "an edge of six axes": (of("Pad", (1, 1, 2, 2, 2, 2), ints(0, 1, *[0] * 10), mode="edge"), "in mode 'constant'"),
    "a reflection of all": (of("Pad", (1, 3), ints(0, 3, 0, 0), mode="reflect"), "reflects 3 elements of axis 1"),
    "no permutation": (of("Transpose", (1, 3, 2)), "no attribute perm"),
    "a permutation of others": (of("Transpose", (1, 3, 2), perm=[0, 2, 2]), "no order of 3 axes"),
    "a zero without allowzero": (of("Reshape", (1, 3), ints(0, 3)), "attribute allowzero"),
    "a shape of 32 bits": (of("Reshape", (1, 3), parameter("p", np.int32([3]))), "reads int64"),
    "several negative axes": (of("Unsqueeze", (1, 3), ints(-1, -3)), "several and negative"),
    "three spatial axes of zeros": (of("InsertZeros", (1, 2, 2, 2, 3), stride=[2]), r"ESP-DL takes \(3, 4\) axes"),
    "a convolution of two axes": (conv((1, 3)), r"ESP-DL takes \(3, 4\) axes"),
    "two recordings in a convolution": (conv((2, 8, 3), 3), "its first element only"),
    "a filter of another rank": (conv((1, 8, 3), 3, 1), "its filter has 4 axes"),
    "strides of another rank": (conv((1, 8, 3), 3, strides=[1, 1]), "its strides"),
    "pads of another rank": (conv((1, 8, 3), 3, pads=[1, 1, 1, 1]), "its pads"),
    "a kernel on padding": (conv((1, 8, 3), 1, pads=[1, 0]), "holds a whole kernel"),
    "a dilated kernel on padding": (conv((1, 8, 3), 2, dilations=[2], pads=[0, 3]), "holds a whole kernel"),
    "a wide bias": (conv((1, 8, 3), 3, bias=np.int64), "the bias of an int8 layer is int32"),
    "a narrow bias": (of("Gemm", (1, 3), parameter("w", spread((3, 2))), parameter("b", np.int16([1, 2]))), "is int32"),
    "two recordings in a pool": (of("MaxPool", (2, 8, 3), kernel_shape=[2]), "its first element only"),
    "two recordings in a mean": (of("GlobalAveragePool", (2, 8, 3)), "its first element only"),
    "a pool of five axes": (of("AveragePool", (1, 2, 2, 2, 3), kernel_shape=[2, 2, 2]), "ESP-DL takes"),
    "a resize of five axes": (of("Resize", (1, 2, 2, 2, 3), mode="nearest"), "ESP-DL takes"),
    "one gain for all": (
        of("LayerNormalization", (1, 4), parameter("g", np.int8([2]))),
        "1 elements where ESP-DL reads 4",
    ),
    "a softmax without axes": (of("Softmax", ()), "no axes"),
    "a product of five axes": (
        of("MatMul", (1, 1, 1, 2, 3), parameter("w", spread((3, 2)))),
        "no more than 4",
    ),
}

RUN = {
    "four turns of broadcasting": two("Add", (2, 1, 2, 1), (1, 2, 1, 2)),
    "neighbours that broadcast alike": two("Add", (2, 3, 1, 1, 2, 1, 2), (2, 3, 4, 5, 2, 1, 2)),
    "four turns of a mean": of("ReduceMean", (2, 3, 4, 2), ints(1, 3)),
    "neighbours reduced alike": of("ReduceMean", (1, 2, 3, 4, 2, 2), ints(1, 2, 4, 5)),
    "two parts": concat((1, 4), (1, 4), axis=-1),
    "a slice to the end": of("Slice", (1, 8), ints(-8), ints(2**62), ints(1)),
    "an axis turned around": of("Slice", (1, 8), ints(-1), ints(-9), ints(1), ints(-1)),
    "zeros around five axes": of("Pad", (1, 2, 2, 2, 2), ints(*[1] * 10), mode="constant"),
    "an edge of five axes behind the first": of("Pad", (1, 2, 2, 2, 2), ints(0, 1, *[0] * 8), mode="edge"),
    "a reflection": of("Pad", (1, 3), ints(0, 2, 0, 2), mode="reflect"),
    "one negative axis": of("Unsqueeze", (1, 3), ints(-2)),
    "a kernel next to padding": conv((1, 8, 3), 2, dilations=[2], pads=[0, 2]),
    "a depthwise convolution": conv((1, 4, 5, 3), 1, 3, groups=3, pads=[0, 1, 0, 1], bias=np.int32),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_chip_cannot_run_is_refused(name):
    model, reason = REFUSED[name]
    with pytest.raises(EspdlOperatorError, match=reason):
        EspdlInterpreter(model, "esp32s3")


@pytest.mark.parametrize("name", RUN)
def test_its_neighbour_runs(name):
    model = RUN[name]
    inputs = {item: np.zeros(model.tensors[item].shape, np.int8) for item in model.inputs}
    given = {item: value if value.shape[:1] == (1,) else value[None] for item, value in inputs.items()}
    EspdlInterpreter(model, "esp32s3").step(given, {})


def test_limits_are_those_of_simulated_operators():
    assert set(LIMITS) <= set(KERNELS)


def test_every_operator_with_limits_has_a_case():
    kinds = {model.operators[0].type for model, _ in REFUSED.values()}
    assert {kind for kind in LIMITS if all(LIMITS[kind] != LIMITS.get(other) for other in kinds)} == set()


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [((1, 8, 4), (4,), 2), ((1, 8, 4), (8, 4), 1), ((2, 3), (1, 1), 1), ((3, 1, 2), (1, 4, 1), 3), ((), (2, 2), 1)],
)
def test_neighbours_that_broadcast_alike_are_one_axis(first, second, count):
    assert merged_pairs(first, second) == count
