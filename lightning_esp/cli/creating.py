"""`lightning-esp new`: a project of the user's own, which runs as it is."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_esp.errors import ConfigurationError
from lightning_esp.resources import find_resource

_AUDIO = (
    *("augmentation", "clips", "listings", "recordings", "rooms", "rows", "scene_data", "scenes", "speech_data"),
    *("spotter", "streams", "tcn", "waveforms"),
)
_SPOKEN = (
    *_AUDIO,
    *("engines", "espeak_library", "festival", "kws_tcn", "phrase_data", "phrases", "piper", "synthesis", "vocabulary"),
)
# As few clips as a test of the project needs.
_FEW = (
    *("--data.takes", "12", "--data.confusable_takes", "8", "--data.sentences", "8", "--data.batch_size", "8"),
    *("--trainer.limit_train_batches", "2"),
)


@dataclass(frozen=True)
class _Kind:
    """A kind of project.

    Args:
        title: its heading.
        recipe: the recipe that it starts from.
        modules: files beside it that it imports.
        data: text about the data folder.
        options: what its YAML file has beside that of the recipe.
        extras: of the package, that it needs.
        few: options that make a test of it short.
    """

    title: str
    recipe: str
    modules: tuple[str, ...]
    data: str
    options: str
    extras: str = "recipes,report"
    few: tuple[str, ...] = ()


_KINDS = {
    "kws": _Kind("Keywords", "kws_tcn", _AUDIO, "audio", "data:\n  root: data/words\n"),
    "wake_word": _Kind(
        "Wake words",
        "wake_word",
        _SPOKEN,
        "phrases",
        "# What to listen for.\nphrases:\n  - hey device\n",
        "recipes,report,wakeword",
        _FEW,
    ),
    "sensor": _Kind("Motion of a sensor", "sensor_tcn", ("listings", "tcn"), "motion", "data:\n  root: data\n"),
}
_IGNORED = "runs/\n__pycache__/\n.pytest_cache/\n"


def add_commands(commands: Any) -> None:
    """Add the parser to the subparsers of `lightning-esp`."""
    new = commands.add_parser(
        "new",
        help="write a project of your own, which trains and exports at once",
        description="Writes a recipe with its YAML file, a data folder with made-up recordings, a README and a test.",
    )
    new.add_argument("kind", choices=tuple(_KINDS), help="keywords, one wake word, or a motion sensor")
    new.add_argument("directory", type=Path, metavar="DIR", help="where; it must not exist, or be empty")
    new.set_defaults(run=run_new)


def run_new(options: argparse.Namespace) -> int:
    """Write the project, and print how to start."""
    directory = options.directory
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigurationError(f"DIR {directory} is there and not empty; name another directory.")
    kind = _KINDS[options.kind]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write_files(directory, kind)
        _write_data(directory / "data", options.kind, kind)
    except OSError as error:
        raise ConfigurationError(
            f"DIR {directory} cannot be written ({error.strerror}); name a place that can."
        ) from None
    print(f"{directory}: start with `cd {directory}; python {kind.recipe}.py fit`; README.md says more.")
    return 0


def _write_files(directory: Path, kind: _Kind) -> None:
    recipes, name = find_resource("recipes"), kind.recipe

    def adapt(source: Path, **words: str) -> str:
        text = source.read_text(encoding="utf-8").replace("recipes/", "")
        for old, new in words.items():
            text = text.replace(old, new)
        return text

    for module in kind.modules:
        (directory / f"{module}.py").write_text(adapt(recipes / f"{module}.py"), encoding="utf-8")
    for suffix, more in ((".py", ""), (".yaml", kind.options)):
        (directory / f"{name}{suffix}").write_text(adapt(recipes / f"{name}{suffix}") + more, encoding="utf-8")
    shared, few = recipes / "projects", "".join(f'    "{option}",\n' for option in kind.few)
    readme = adapt(shared / "README.md", TITLE=kind.title, RECIPE=name)
    (directory / "README.md").write_text(readme, encoding="utf-8")
    test = adapt(shared / "test_recipe.py", **{"FEW: list[str] = []": f"FEW = [\n{few}]"} if few else {})
    (directory / "test_recipe.py").write_text(test, encoding="utf-8")
    (directory / "requirements.txt").write_text(f"lightning-esp[{kind.extras}]\npytest\n", encoding="utf-8")
    (directory / ".gitignore").write_text(_IGNORED, encoding="utf-8")


def _write_data(directory: Path, name: str, kind: _Kind) -> None:
    from lightning_esp.cli.smoke import write_smoke

    directory.mkdir()
    example = "" if name == "wake_word" else write_smoke(directory, name)
    text = (find_resource("recipes") / "projects" / f"{kind.data}.md").read_text(encoding="utf-8")
    (directory / "README.md").write_text(text.replace("EXAMPLE", example), encoding="utf-8")
