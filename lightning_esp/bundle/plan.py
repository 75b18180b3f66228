"""Plan of an export for every file found in a bundle: replace it, leave it, or write beside it."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lightning_esp.bundle.bundle import COMPONENT
from lightning_esp.bundle.ownership import NEWER, Found, is_generated, look, sha256
from lightning_esp.bundle.renaming import former_folders, is_renamed, rename

OLDER = ".old"

# What the firmware embeds wherever it finds it in the folder of a chip.
EMBEDDED = (".espdl", ".bin")


@dataclass(frozen=True)
class ReplacementPlan:
    """Files to write, to remove and to keep; the directory of the model is replaced as a whole.

    Args:
        writes: content by path inside the bundle.
        removes: templates that are none any more, outside of the model.
        keeps: of what lies in `components/lesp_model`, its path inside the bundle now, and then.
        notices: what the user should know, a line each.
    """

    writes: dict[str, bytes] = field(default_factory=dict)
    removes: list[str] = field(default_factory=list)
    keeps: dict[str, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


def make_plan(directory: Path, files: Mapping[str, bytes], known: Mapping[str, str]) -> ReplacementPlan:
    """Decide about every file of an export to a directory.

    Templates are treated as Debian treats configuration files: one that was edited stays, one that was deleted stays
    deleted, and where the template is another one than last time, it goes beside the edited file as `*.new`.

    Args:
        directory: of a bundle, or empty.
        files: content of the new bundle by path.
        known: hashes of the files of the bundle that is there, as they were written.
    """
    plan = ReplacementPlan()
    for name, data in files.items():
        if is_generated(name):
            plan.writes[name] = data
        else:
            _plan_template(plan, directory, name, data, known.get(name))
    _plan_renamed_files(plan, directory, files, known)
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
        if name not in files and here.is_one_of(known[name]) and (rename(name) != name or _part(name) not in edited):
            yield name


def list_carried(directory: Path, staged: Path, known: Mapping[str, str], files: Mapping[str, object]) -> Iterator[str]:
    """Yield what the user has edited in folders that have another name now, and of which there is a copy there.

    Args:
        directory: of a bundle.
        staged: where files lie that go into it.
        known: hashes of its files as they were written.
        files: paths of the files of the new bundle.
    """
    for name in known:
        data = look(directory, name).data if is_renamed(name, files) else None
        if data is not None and data in (look(directory, rename(name)).data, look(staged, rename(name)).data):
            yield name


def _plan_template(plan: ReplacementPlan, directory: Path, name: str, data: bytes, old: str | None) -> None:
    here, new = look(directory, name), sha256(data)
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


def _plan_renamed_files(
    plan: ReplacementPlan, directory: Path, files: Mapping[str, bytes], known: Mapping[str, str]
) -> None:
    """Decide about the templates of an older bundle whose folders have other names now."""
    older = [name for name in known if is_renamed(name, files)]
    for name in older:
        _plan_renamed(plan, directory, name, known[name])
    folders = [folder for folder in sorted(former_folders(older)) if look(directory, folder).exists]
    if folders:
        names = ", ".join(f"{folder} is {rename(f'{folder}/-').removesuffix('/-')}" for folder in folders)
        plan.notices.append(
            f"The components have names of their own now ({names}); where a CMakeLists.txt of yours has one of them in its "
            f"REQUIRES, or a path to one, write the new name, and run `idf.py fullclean` before the next build."
        )
    for folder in folders:
        if any(name not in known for name in _list_files(directory, folder)):
            plan.notices.append(f"{folder} holds files of yours, which nothing builds there any more; move them.")


def _plan_renamed(plan: ReplacementPlan, directory: Path, name: str, old: str) -> None:
    """Decide about one of them: what the user made of it goes along, and what was deleted stays so."""
    here, now = look(directory, name), rename(name)
    if not here.exists:
        if not _is_of_model(now) and not look(directory, now).exists:
            plan.writes.pop(now, None)
    elif here.is_one_of(old):
        return
    elif here.data is None or is_generated(now) or look(directory, now).exists:
        plan.notices.append(
            f"{name} is not what was written, and stays; its place is {now} now, and nothing builds it."
        )
    else:
        template, plan.writes[now] = plan.writes.get(now), here.data
        plan.removes.append(name)
        plan.notices.append(f"{name} is {now} now, as you edited it.")
        if template is not None and not here.is_one_of(sha256(template)):
            plan.writes[now + NEWER] = template
            plan.notices.append(f"{now} stays as you edited it; the newer template is {now}{NEWER}.")


def _plan_model(plan: ReplacementPlan, directory: Path, name: str, files: Mapping[str, bytes], old: str | None) -> None:
    """Decide about one file of the directory of the model: what is not an older export's is taken along."""
    here, new = look(directory, name), files.get(name)
    if not is_generated(name):
        plan.keeps[name] = name
    elif here.is_one_of(old, None if new is None else sha256(new)):
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
    return _list_files(directory, COMPONENT)


def _list_files(directory: Path, inside: str) -> Iterator[str]:
    for folder, folders, files in os.walk(directory / inside):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in sorted([*files, *links]):
            yield (Path(folder) / name).relative_to(directory).as_posix()


def _is_of_model(name: str) -> bool:
    return name.startswith(f"{COMPONENT}/")


def _part(name: str) -> str:
    parts = name.split("/")
    return "/".join(parts[:2]) if parts[0] in ("boards", "components") else parts[0]
