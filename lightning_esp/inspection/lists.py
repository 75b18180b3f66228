"""Lists in a bundle: a hash of every file, and the same figures in manifest, report and page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning_esp
from lightning_esp.bundle import (
    EMBEDDED,
    MANIFEST,
    PAGE,
    REPORT,
    Bundle,
    look,
    read_project,
    render_page,
    sha256,
    target_dir,
)
from lightning_esp.errors import BundleError


def check_lists(bundle: Bundle) -> None:
    """Check that every file has a hash: without one it could be anything.

    Raises:
        BundleError: one has none, or is of no export and would be embedded by the firmware.
    """
    listed = bundle.manifest["files"]
    missing = [REPORT, *(stage["file"] for entry in bundle.manifest["targets"].values() for stage in entry["stages"])]
    missing += [f"{target_dir(target)}/model_config.hpp" for target in bundle.targets]
    # A template that the package has gained since then is not there.
    missing += [name for name in read_project() if look(bundle.path, name).exists]
    for name in missing:
        if name not in listed:
            raise BundleError(f"{bundle.path / MANIFEST} holds no SHA-256 of {name}. Export again.")
    for target in bundle.targets:
        for path in sorted((bundle.path / target_dir(target)).rglob("*")):
            name = path.relative_to(bundle.path).as_posix()
            if name.endswith(EMBEDDED) and name not in listed:
                raise BundleError(
                    f"{path} is of no export, and the firmware would embed it; move it out of the folder, or rename it."
                )


def check_page(bundle: Bundle) -> None:
    """Check the figures of the manifest against the report and the page, which hold them, too.

    Raises:
        BundleError: they differ.
    """
    made = render_page(bundle.manifest, bundle.report)
    differing = [target for target in bundle.targets if not _agree(bundle.manifest, bundle.report, target)]
    if differing:
        raise BundleError(
            f"{bundle.path}: metrics or proofs of {differing[0]!r} in {MANIFEST} are not those in {REPORT}. Export again."
        )
    page, own = look(bundle.path, PAGE), sha256(made)
    written = None if is_own(bundle) else bundle.manifest["files"].get(PAGE)
    if page.exists and not page.is_one_of(own, written):
        raise BundleError(
            f"{bundle.path / PAGE} is not what {MANIFEST} and {REPORT} make: one of the three was changed after the export. "
            "Export again."
        )


def _agree(manifest: Mapping[str, Any], report: Mapping[str, Any], target: str) -> bool:
    figures, metrics = report["targets"].get(target), manifest["metrics"]
    if figures is None:
        return False
    proofs = [{"target": target, **proof} for proof in figures["proofs"]]
    return bool(
        proofs == [proof for proof in manifest["proofs"] if proof["target"] == target]
        and figures["metrics"]["quantized"] == metrics["quantized"].get(target)
        and (target != next(iter(manifest["targets"])) or figures["metrics"]["float"] == metrics["float"])
    )


def is_own(bundle: Bundle) -> bool:
    """Tell whether this version of the package has written the bundle."""
    return bool(bundle.manifest["versions"].get("lightning-esp") == lightning_esp.__version__)
