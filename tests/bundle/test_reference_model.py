"""`idf_project` in git holds a model, so that it builds as it stands: it must be what an export makes today."""

from __future__ import annotations

import re

import pytest

from lightning_esp.bundle.writer import read_project
from lightning_esp.espdl import read_espdl
from tests.bundle import handmade
from tests.bundle.make_reference_model import PROJECT, TABLES, TARGET, export_reference


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    directory = tmp_path_factory.mktemp("reference") / "bundle"
    export_reference(directory)
    return directory


def test_the_committed_model_is_what_an_export_makes(exported):
    committed = handmade.read_files(PROJECT / "components/lesp_model" / TARGET)
    made = handmade.read_files(exported / "components/lesp_model" / TARGET)
    assert committed.keys() == made.keys()
    texts = [name for name in made if name.endswith(".hpp")]
    # Another machine may round a weight otherwise.
    crc = re.compile(rb"\.crc = 0x\w+")
    for name in texts:
        assert crc.sub(b"", committed[name]) == crc.sub(b"", made[name])
    for table in TABLES:
        assert (PROJECT / table).read_bytes() == (exported / table).read_bytes()
    operators = [[op.type for op in read_espdl(d["model_stage_0.espdl"]).operators] for d in (committed, made)]
    assert operators[0] == operators[1]


def test_the_committed_model_is_not_copied_into_bundles():
    assert not [name for name in read_project() if name.startswith("components/lesp_model/esp32")]
