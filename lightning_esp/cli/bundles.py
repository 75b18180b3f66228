"""Commands that read bundles and files: verify, sign, report, inspect, compare."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_esp.cli.arguments import write_file
from lightning_esp.errors import BundleError, EspdlFormatError

if TYPE_CHECKING:
    from lightning_esp.bundle import Bundle


def add_commands(commands: Any) -> None:
    """Add the parsers of these commands to the subparsers of `lightning-esp`."""
    verify = commands.add_parser(
        "verify",
        help="check a bundle against itself",
        description="Checks hashes, headers, tensors and digests of a bundle, and replays its golden windows in integers. "
        "Exits with 1 where something does not fit.",
    )
    verify.add_argument("bundle", type=Path, help="directory of a bundle")
    verify.add_argument("--image", type=Path, metavar="FILE", help="a file of `pack`, which must hold the same model")
    verify.add_argument("--public-key", type=Path, metavar="PEM", help="whose holder must have signed the bundle")
    verify.set_defaults(run=run_verify)

    sign = commands.add_parser(
        "sign",
        help="say who exported a bundle",
        description="Signs the manifest, which holds the hash of every file of the model, with an Ed25519 key (`openssl genpkey "
        "-algorithm ed25519 -out key.pem`); `verify --public-key` checks it (`openssl pkey -in key.pem -pubout -out public.pem`).",
    )
    sign.add_argument("bundle", type=Path, help="directory of a bundle")
    sign.add_argument("--key", type=Path, metavar="PEM", required=True, help="the private key, which stays where it is")
    sign.set_defaults(run=run_sign)

    report = commands.add_parser(
        "report",
        help="write the page of a bundle",
        description="Makes report.html again from manifest.json and report.json.",
    )
    report.add_argument("bundle", type=Path, help="directory of a bundle")
    report.add_argument("--output", type=Path, metavar="HTML", help="default: beside the bundle, by its name")
    report.set_defaults(run=run_report)

    inspect = commands.add_parser(
        "inspect",
        help="list operators and tensors of an .espdl file",
        description="Prints inputs, outputs, operators, parameters and metadata of an .espdl file.",
    )
    inspect.add_argument("file", type=Path, help="an .espdl file")
    inspect.set_defaults(run=run_inspect)

    compare = commands.add_parser(
        "compare",
        help="put two bundles side by side",
        description="Prints metrics, estimated time and memory, and the noise of the layers of two bundles, chip by chip.",
    )
    compare.add_argument("first", type=Path, help="directory of a bundle")
    compare.add_argument("second", type=Path, help="directory of another one")
    compare.set_defaults(run=run_compare)


def run_verify(options: argparse.Namespace) -> int:
    """Print every check with what it means; one that fails raises."""
    from lightning_esp.bundle import check_signature, read_bundle
    from lightning_esp.inspection import explain, verify_bundle

    bundle = read_bundle(options.bundle)
    if options.public_key is not None:
        check_signature(options.bundle, options.public_key)
        print(f"The manifest is signed by the holder of {options.public_key}.")
    for target, verification in verify_bundle(options.bundle).items():
        for proof in verification.proofs:
            print(f"{target}: {proof.name}: {proof.figure:g}, at most {proof.limit:g}")
            print(f"    {explain(proof.name)}.")
        for note in verification.notes:
            print(f"{target}: note: {note}")
    amber = f", with {len(bundle.doubts)} proof(s) that are amber" if bundle.doubts else ""
    edited = f"; {len(bundle.edits)} file(s) around it were edited" if bundle.edits else ""
    print(f"The model in {options.bundle} is what was exported{amber}{edited}.")
    if bundle.doubts:
        print("    Amber: a proof held at the export, with the doubt that its note tells; look at it before you flash.")
    if options.image is not None:
        _verify_image(bundle, options.image)
    return 0


def _verify_image(bundle: Bundle, path: Path) -> None:
    from lightning_esp.bundle import pack_image, read_image

    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); `lightning-esp pack` makes it.") from None
    image = read_image(data)
    if image.target not in bundle.targets or pack_image(bundle, image.target) != data:
        raise BundleError(
            f"{path} holds {image.name} for {image.target}, which is not the model of {bundle.path}. Pack the bundle again."
        )
    print(f"{path} holds the model for {image.target}.")


def run_sign(options: argparse.Namespace) -> int:
    """Write the signature."""
    from lightning_esp.bundle import sign_bundle

    print(sign_bundle(options.bundle, options.key))
    return 0


def run_report(options: argparse.Namespace) -> int:
    """Write the page."""
    from lightning_esp.bundle import read_bundle, render_page

    bundle = read_bundle(options.bundle)
    default = bundle.path.with_name(f"{bundle.path.name}.html")
    page = render_page(bundle.manifest, bundle.report)
    print(write_file("--output", options.output or default, page))
    return 0


def run_inspect(options: argparse.Namespace) -> int:
    """Print a file."""
    from lightning_esp.espdl import read_espdl

    try:
        print(read_espdl(options.file))
    except OSError as error:
        raise EspdlFormatError(f"{options.file} cannot be read ({error.strerror}); name an .espdl file.") from None
    for line in _names_in_forward(options.file):
        print(line)
    return 0


def _names_in_forward(file: Path) -> Iterator[str]:
    """Lines with what `forward` calls the outputs of a file, which only the bundle that it lies in can tell."""
    from lightning_esp.bundle import MANIFEST, read_bundle, target_dir

    path = file.resolve()
    depth = len(Path(target_dir("chip")).parts)
    if len(path.parents) <= depth or not (path.parents[depth] / MANIFEST).is_file():
        return
    try:
        bundle = read_bundle(path.parents[depth])
    except BundleError as error:
        yield f"What forward calls the outputs is not known: {error}"
        return
    names = bundle.manifest["streaming"].get("names", {})
    for stage in (stage for target in bundle.manifest["targets"].values() for stage in target["stages"]):
        if bundle.path / stage["file"] == path:
            ports = [tensor["name"] for tensor in stage["outputs"] if tensor["name"] in names]
            yield from (f"output {port} is {names[port]!r} of forward" for port in ports)


def run_compare(options: argparse.Namespace) -> int:
    """Print two bundles side by side."""
    from lightning_esp.bundle import expecting, read_bundle

    first, second = read_bundle(options.first), read_bundle(options.second)
    shared = [target for target in first.targets if target in second.targets]
    for target in shared:
        with expecting(f"a report.json of {first.path} and {second.path}"):
            columns = [dict(_figures(bundle, target)) for bundle in (first, second)]
        _print_table(target, *columns)
    if not shared:
        print(f"No chip in common: {', '.join(first.targets)} against {', '.join(second.targets)}.")
    return 0


def _figures(bundle: Bundle, target: str) -> Iterator[tuple[str, Any]]:
    entry, figures = bundle.manifest["targets"][target], bundle.report["targets"][target]
    yield "precision", entry["precision"]
    for name, value in sorted(bundle.manifest["metrics"]["float"].items()):
        yield f"{name} (float)", value
    for name, value in sorted(bundle.manifest["metrics"]["quantized"].get(target, {}).items()):
        yield name, value
    estimate = entry.get("estimate", {})
    names = {"window_us": "us a window, estimated", "step_us": "us a step, estimated"}
    names |= {key: f"bytes of {key}, estimated" for key in ("ram", "psram")} | {"flash": "bytes of flash"}
    for key, name in names.items():
        if estimate.get(key) is not None:
            yield name, estimate[key]
    yield "bytes of caches", figures["bytes"]["caches"]
    for layer in figures.get("analysis", {}).get("layers", ()):
        yield f"noise of {layer['name']}, dB", layer["total_db"]


def _print_table(target: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    names = list(dict.fromkeys([*first, *second]))
    width = max(len(name) for name in names)
    print(f"{target:{width}}  {'first':>12}  {'second':>12}  {'difference':>12}")
    for name in names:
        a, b = first.get(name), second.get(name)
        change = f"{b - a:+.6g}" if isinstance(a, int | float) and isinstance(b, int | float) else ""
        print(f"{name:{width}}  {_cell(a):>12}  {_cell(b):>12}  {change:>12}".rstrip())


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
