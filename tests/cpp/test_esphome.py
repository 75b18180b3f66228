"""The listener as a component of ESPHome, against stand-ins of what it uses of ESPHome and of the listener."""

from __future__ import annotations

import ast
import re

from tests.cpp.compile import compile_program, needs_compiler, run_program
from tests.cpp.host_build import PROJECT

EXAMPLE = PROJECT / "examples/esphome"
COMPONENT = EXAMPLE / "components/lesp_listener"


@needs_compiler
def test_events_reach_automations_and_failures_are_marked(tmp_path):
    sources = ["esphome_units.cpp", "../examples/esphome/components/lesp_listener/listener_component.cpp"]
    text = run_program(compile_program(tmp_path / "units", sources, ["lesp_listener"], "-pthread"))
    assert text.splitlines() == [
        "W lesp_listener: 160 samples lost: the model does not keep up",
        "W lesp_listener: 3 events lost, since the loop was held up",
        "C lesp_listener: Listener: 402 us a step on average, 611 us at most",
        "E lesp_listener: the microphone has ended: error 0x107",
        "E lesp_listener: the listener does not start: error 0x101",
        "E lesp_listener: no memory for the queue of events",
        "PASS esphome",
    ]


def test_it_names_components_and_options_that_the_bundle_has():
    """ESPHome hands them to ESP-IDF, which says nothing of an option that no Kconfig has."""
    source = (COMPONENT / "__init__.py").read_text()
    (folders,) = [
        ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "COMPONENTS"
    ]
    assert all((PROJECT / folder / "CMakeLists.txt").is_file() for folder in folders.values())
    required = re.findall(
        r"\blesp_\w+", "".join((PROJECT / f / "CMakeLists.txt").read_text() for f in folders.values())
    )
    assert set(required) <= set(folders)
    options = set(re.findall(r'"CONFIG_(\w+)"', source))
    kconfigs = [PROJECT / "boards/pins/lesp_board/Kconfig.projbuild", PROJECT / "components/lesp_streaming/Kconfig"]
    known = set(re.findall(r"^\s*config (\w+)$", "\n".join(path.read_text() for path in kconfigs), re.MULTILINE))
    assert len(options) >= 8
    assert options <= known
