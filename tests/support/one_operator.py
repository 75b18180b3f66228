"""Models of one operator, and values for them."""

from __future__ import annotations

import numpy as np

from lightning_esp.espdl import EspdlModel, Operator, Tensor


def tensor(name, shape, dtype="int8", exponent=0):
    return Tensor(name, tuple(shape), np.dtype(dtype), exponent)


def parameter(name, data, exponent=0, layout="UNK"):
    data = np.asarray(data)
    return Tensor(name, data.shape, data.dtype, exponent, data, layout)


def single(kind, inputs, output, **attributes):
    """A model of one operator; tensors without data are the graph's inputs."""
    outputs = output if isinstance(output, tuple) else (output,)
    attributes.setdefault("quant_type", "S8" if outputs[0].dtype == "int8" else "S16")
    table = [attributes["lut"]] if "lut" in attributes else []
    if table:
        attributes["lut"] = table[0].name
    return EspdlModel(
        "graph",
        0,
        (Operator("op", kind, attributes, tuple(i.name for i in inputs), tuple(o.name for o in outputs)),),
        {item.name: item for item in (*inputs, *outputs, *table)},
        tuple(item.name for item in inputs if item.data is None),
        tuple(item.name for item in outputs),
        {},
        {},
        {},
    )


def spread(shape, dtype="int8", seed=0):
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape).astype(dtype)
