"""What an export does with every file that it finds in a bundle: replaces it, leaves it, or writes beside it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lightning_esp.bundle.model import COMPONENT
from lightning_esp.bundle.ownership import NEWER, Found, is_generated, look

OLDER = ".old"

# What the firmware embeds wherever it finds it in the folder of a chip.
EMBEDDED = (".espdl", ".bin")


@dataclass(frozen=True)
class Plan:
    """What is written, what goes, and what stays of the directory of the model, which is replaced as a whole.

    Args:
        writes: content by path inside the bundle.
        removes: templates that are none any more, outside of the model.
        keeps: of what lies in `components/model`, its path inside the bundle now, and then.
        notices: what the user should know, a line each.
    """

    writes: dict[str, bytes] = field(default_factory=dict)
    removes: list[str] = field(default_factory=list)
    keeps: dict[str, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


def make_plan(directory: Path, files: Mapping[str, bytes], known: Mapping[str, str]) -> Plan:
    """Decide about every file of an export to a directory.

    Templates are treated as Debian treats configuration files: one that was edited stays, one that was deleted stays
    deleted, and where the template is another one than last time, it goes beside the edited file as `*.new`.

    Args:
        directory: of a bundle, or empty.
        files: content of the new bundle by path.
        known: hashes of the files of the bundle that is there, as they were written.
    """
    plan = Plan()
    for name, data in files.items():
        if is_generated(name):
            plan.writes[name] = data
        else:
            _plan_template(plan, directory, name, data, known.get(name))
    removes = set(list_obsolete(directory, known, files))
    plan.removes.extend(sorted(name for name in removes if not _is_of_model(name)))
    for name in _list_model(directory):
        if name not in removes and (is_generated(name) or name not in plan.writes):
            _plan_model(plan, directory, name, files, known.get(name))
    return plan


def list_obsolete(directory: Path, known: Mapping[str, str], files: Mapping[str, object]) -> Iterator[str]:
    """Yield what was a template once and was never edited, unless a file of the same part of the project was.

    An edited `CMakeLists.txt` may still name it.

    Args:
        directory: of a bundle.
        known: hashes of its files as they were written.
        files: paths of the files of the new bundle.
    """
    found = {name: look(directory, name) for name in known if not is_generated(name)}
    edited = {_part(name) for name, here in found.items() if here.exists and not here.is_one_of(known[name])}
    for name, here in found.items():
        if name not in files and here.is_one_of(known[name]) and _part(name) not in edited:
            yield name


def _plan_template(plan: Plan, directory: Path, name: str, data: bytes, old: str | None) -> None:
    here, new = look(directory, name), hashlib.sha256(data).hexdigest()
    if not here.exists:
        # What was deleted stays so, but without its CMakeLists.txt the model cannot be built.
        if old is None or _is_of_model(name):
            plan.writes[name] = data
    elif here.is_one_of(new):
        return
    elif here.is_one_of(old):
        plan.writes[name] = data
    elif old == new:
        if look(directory, name + NEWER).is_one_of(new):
            plan.notices.append(f"{name} stays as you edited it; the template still waits in {name}{NEWER}.")
    elif not here.reachable:
        plan.notices.append(f"{name} is left alone, since a link leads to it; its template is another one than before.")
    else:
        beside = _find_free(directory, name + NEWER, plan.writes, old, new)
        plan.writes[beside] = data
        plan.notices.append(f"{name} stays as you edited it; the newer template is {beside}.")


def _plan_model(plan: Plan, directory: Path, name: str, files: Mapping[str, bytes], old: str | None) -> None:
    """Decide about one file of the directory of the model: what is not an older export's is taken along."""
    here, new = look(directory, name), files.get(name)
    if not is_generated(name):
        plan.keeps[name] = name
    elif here.is_one_of(old, None if new is None else hashlib.sha256(new).hexdigest()):
        return
    elif new is None and not name.endswith(EMBEDDED):
        plan.keeps[name] = name
    else:
        plan.keeps[name] = _find_free(directory, name + OLDER, plan.keeps.values())
        plan.notices.append(f"{name} is generated, but you had changed it; what was there is {plan.keeps[name]}.")


def _find_free(directory: Path, name: str, taken: Container[str], *ours: str | None) -> str:
    """Return a path at which nothing lies but, possibly, what an export has written."""
    number, candidate = 1, name
    while not _is_free(look(directory, candidate), ours) or candidate in taken:
        number, candidate = number + 1, f"{name}{number + 1}"
    return candidate


def _is_free(here: Found, ours: tuple[str | None, ...]) -> bool:
    return not here.exists or here.is_one_of(*ours)


def _list_model(directory: Path) -> Iterator[str]:
    """Yield files and links in the directory of the model by their paths inside the bundle."""
    for folder, folders, files in os.walk(directory / COMPONENT):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in sorted([*files, *links]):
            yield (Path(folder) / name).relative_to(directory).as_posix()


def _is_of_model(name: str) -> bool:
    return name.startswith(f"{COMPONENT}/")


def _part(name: str) -> str:
    parts = name.split("/")
    return "/".join(parts[:2]) if parts[0] in ("boards", "components") else parts[0]
