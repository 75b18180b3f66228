"""Reading `.espdl` files: contents, packed files, damage."""

from __future__ import annotations

import copy
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from lightning_esp.errors import EspdlFormatError
from lightning_esp.espdl import list_models, read_espdl
from lightning_esp.espdl.weights import unpack_conv


@pytest.fixture(scope="module")
def file(quantize) -> Path:
    return quantize(["depthwise"], ("esp32s3",))[0].path


def pack(files: dict[str, bytes]) -> bytes:
    """Pack models as `PDL2` does: a table of offsets, the names, the models at multiples of 16."""
    names = b"".join(name.encode() for name in files)
    name_at = 8 + 12 * len(files)
    data_at = (name_at + len(names) + 15) // 16 * 16
    table, body = b"", b""
    for name, data in files.items():
        table += struct.pack("<3I", data_at + len(body), name_at, len(name))
        name_at += len(name)
        body += data + bytes(-len(data) % 16)
    head = b"PDL2" + struct.pack("<I", len(files)) + table + names
    return head.ljust(data_at, b"\0") + body


class TestContents:
    def test_operators_and_tensors(self, file):
        model = read_espdl(file)
        assert [operator.type for operator in model.operators] == ["Conv", "Conv"]
        assert model.inputs == ("x",)
        assert model.outputs == ("y",)
        assert model.operators[0].attributes["group"] == 20
        assert model.operators[0].attributes["strides"] == (1,)
        x = model.tensors["x"]
        assert (x.shape, x.dtype, x.data) == ((1, 16, 20), "int8", None)
        assert isinstance(x.exponent, int)
        assert model.metadata == {"network": "depthwise"}

    def test_bytes_and_path_give_the_same(self, file):
        assert str(read_espdl(file.read_bytes())) == str(read_espdl(str(file)))

    def test_parameters_are_read_only(self, file):
        weight = next(tensor for tensor in read_espdl(file).tensors.values() if tensor.layout.startswith("(N/16)"))
        with pytest.raises(ValueError, match="read-only"):
            weight.data[...] = 0

    def test_test_values(self, file):
        model = read_espdl(file)
        assert model.test_inputs["x"].data.shape == model.tensors["x"].shape
        assert model.test_outputs["y"].exponent == model.tensors["y"].exponent

    def test_dequantize_scales_by_the_exponent(self, file):
        x = read_espdl(file).tensors["x"]
        assert x.dequantize(np.array([3], np.int8))[0] == 3 * 2.0**x.exponent

    def test_listing_names_operators_and_exponents(self, file):
        text = str(read_espdl(file))
        assert "x: int8 1x16x20 2^" in text
        assert "= Conv(x," in text
        assert "(N/16)WC16_UNALIGNED" in text

    def test_models_can_be_copied_and_pickled(self, file):
        model = read_espdl(file)
        assert str(copy.deepcopy(model)) == str(pickle.loads(pickle.dumps(model))) == str(model)


class TestWeightOrder:
    @pytest.mark.parametrize("network", ["conv", "depthwise", "conv2d", "depthwise2d", "linear"])
    def test_every_packing_unpacks_to_the_same_weights(self, quantize, network):
        plain, packed, per_channel = (item.model for item in quantize([network], ("esp32c3", "esp32s3", "esp32p4")))
        compared = 0
        for name, tensor in plain.tensors.items():
            if not tensor.is_parameter or tensor.data.ndim < 2:
                continue
            first, second = tensor.dequantize(), packed.tensors[name].dequantize()
            assert first.shape == second.shape
            assert np.abs(first - second).max() <= 2.0 ** max(tensor.exponent, packed.tensors[name].exponent)
            channels = per_channel.tensors[name]
            steps = np.asarray(channels.exponent).reshape((-1, *[1] * (first.ndim - 1)) if network != "linear" else -1)
            assert np.abs(np.ldexp(channels.data.astype(np.float32), steps) - first).max() <= 2.0**tensor.exponent
            compared += 1
        assert compared


class TestPackedFiles:
    def test_first_by_default_and_any_by_name_or_position(self, quantize):
        first, second = (item.path.read_bytes() for item in quantize(["conv", "depthwise"], ("esp32s3",)))
        packed = pack({"a.espdl": first, "b.espdl": second})
        assert list_models(packed) == ("a.espdl", "b.espdl")
        assert str(read_espdl(packed)) == str(read_espdl(first))
        assert str(read_espdl(packed, model="b.espdl")) == str(read_espdl(packed, model=1)) == str(read_espdl(second))

    def test_unknown_model(self, file):
        with pytest.raises(EspdlFormatError, match=r"no model 'c'; it holds \['a'\]"):
            read_espdl(pack({"a": file.read_bytes()}), model="c")

    def test_model_inside_is_named_when_damaged(self, file):
        data = file.read_bytes()
        packed = pack({"a": data[:4] + b"\1" + data[5:]})
        with pytest.raises(EspdlFormatError, match=r"\[a\]: .*encrypted"):
            read_espdl(packed)


class TestBadFiles:
    def test_foreign(self):
        with pytest.raises(EspdlFormatError, match=r"not an \.espdl file: it begins with b'\\x08\\x07"):
            read_espdl(b"\x08\x07\x12\x07pytorch and so on")

    def test_empty(self):
        with pytest.raises(EspdlFormatError, match="0 bytes are too few"):
            read_espdl(b"")

    def test_newer(self, file):
        with pytest.raises(EspdlFormatError, match="EDL3 is newer than this package"):
            read_espdl(b"EDL3" + file.read_bytes()[4:])

    def test_encrypted(self, file):
        data = file.read_bytes()
        with pytest.raises(EspdlFormatError, match=r"encrypted.*encrypt_data=False"):
            read_espdl(data[:4] + struct.pack("<I", 1) + data[8:])

    def test_truncated(self, file):
        data = file.read_bytes()
        with pytest.raises(EspdlFormatError, match=f"announces {len(data) - 16} bytes of data, {len(data) - 36} are"):
            read_espdl(data[:-20])

    def test_truncated_inside_a_consistent_header(self, file):
        body = file.read_bytes()[16:]
        for kept in range(0, len(body) - 64, 97):
            with pytest.raises(EspdlFormatError, match=r"damaged|holds no graph|too little data"):
                read_espdl(b"EDL2" + struct.pack("<3I", 0, kept, 0) + body[:kept])

    def test_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            read_espdl(tmp_path / "none.espdl")


@pytest.mark.parametrize(("layout", "older"), [("(N/16)HWC16", "N16HWC16"), ("(N/8)WC8_UNALIGNED", "N8WC8_UNALIGNED")])
def test_the_older_spelling_of_a_packing(layout, older):
    filters = np.arange(3 * 5 * 40, dtype=np.int16).reshape(3, 5, 40)
    np.testing.assert_array_equal(unpack_conv(filters, older, False), unpack_conv(filters, layout, False))


@pytest.mark.parametrize("layout", ["N16)HWC16", "(N/16HWC16", "(N/16)HWC8", "N/16HWC16", "N16"])
def test_an_unknown_packing_is_refused(layout):
    with pytest.raises(EspdlFormatError, match="is unknown"):
        unpack_conv(np.zeros((3, 5, 32), np.int8), layout, False)
