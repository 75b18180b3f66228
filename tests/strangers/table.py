"""The page of the table: `python -m tests.strangers.table` writes `docs/strangers.md`."""

from __future__ import annotations

from math import prod
from pathlib import Path

from lightning_esp import Streaming, convert
from lightning_esp.conversion.example import as_example
from lightning_esp.conversion.operator_cost import work_of_stage
from lightning_esp.cost.chip import reference_chip
from tests.strangers.entry import Exports, Stranger
from tests.strangers.families import FAMILIES, STRANGERS

PAGE = Path(__file__).parents[2] / "docs" / "strangers.md"

HEAD = """\
# Architectures as they are met

{count} architectures in the words of papers and toolkits, small, with random weights; `tests/strangers/` has their code.
{exported} are exported, {refused} refused{wrong}. The tests export each and hold what this page says: all proofs, the
signal over the difference between the integers and the float network, or class, reason and remedy of the error.
`python -m tests.strangers.table` writes the page.

Recordings are noise over a slow wave, without batch; `T` is time. int8 for the ESP32-S3 unless a row says otherwise.
"""


CLIPS = """\
## What classifiers of clips cost

The {count} architectures above that decide on whole clips. incremental: layers run frame by frame up to the first that needs the
clip, whose frames are held; sliding: the whole network runs on each clip. Frames count at the input; delay: those behind a
clip until its decision is there; bytes: what is held between windows in int8; time: of one decision, estimated for an
ESP32-S3 by `lightning_esp.cost`, not measured. `python benchmarks/clip.py` compares both forms at one pace.

| architecture | form | clip | hop | delay | bytes held | us a decision |
| --- | --- | --- | --- | --- | --- | --- |"""


def render() -> str:
    """The whole page."""
    wrong = sum(bool(stranger.wrong) for stranger in STRANGERS)
    exported = sum(isinstance(s.outcome, Exports) and not s.wrong for s in STRANGERS)
    head = HEAD.format(
        count=len(STRANGERS),
        exported=exported,
        refused=len(STRANGERS) - exported - wrong,
        wrong=f", {wrong} not yet as they should be" if wrong else "",
    )
    return "\n".join([head, *(section(title, rows) for title, rows in FAMILIES.items()), decides(STRANGERS)])


def section(title: str, rows: tuple[Stranger, ...]) -> str:
    """A heading and its table."""
    lines = [f"## {title}", "", "| architecture | input | asked for | outcome |", "| --- | --- | --- | --- |"]
    lines += [f"| {row.name} | `{row.layout}` | {asked(row)} | {outcome(row)} |" for row in rows]
    return "\n".join([*lines, ""])


def decides(rows: tuple[Stranger, ...]) -> str:
    """How the architectures that decide on clips run on a stream, and what that costs."""
    found = [row for row in rows if row.clip and isinstance(row.outcome, Exports) and not row.wrong]
    return "\n".join([CLIPS.format(count=len(found)), *map(clip_row, found), ""])


def clip_row(row: Stranger) -> str:
    """Form, delay, bytes and time of one of them, as it converts without being told a hop."""
    module = row.module()
    model = convert(module, as_example(module, row.recordings()[0]), row.streaming)
    clip, work = model.spec.clip, work_of_stage(model.stages[0], model.spec.stages[0])
    assert clip is not None
    assert work is not None
    # The frames that come behind the first clip until its decision is there.
    delay = (model.delay + 1) * clip.hop - clip.frames
    held = sum(prod(cache.shape) for cache in model.spec.caches)
    micros = reference_chip("esp32s3").microseconds(work)
    return f"| {row.name} | {clip.form} | {clip.frames} | {clip.hop} | {delay} | {held} | {micros:.0f} |"


def asked(row: Stranger) -> str:
    """Options that are not the defaults."""
    default = Streaming()
    names = ("window", "stages", "time_axis", "lookahead")
    given = [f"{n}={getattr(row.streaming, n)}" for n in names if getattr(row.streaming, n) != getattr(default, n)]
    return ", ".join([*given, *([row.precision] if row.precision != "int8" else [])])


def outcome(row: Stranger) -> str:
    """What an export does."""
    if row.wrong:
        return f"not yet: {row.wrong}"
    if isinstance(row.outcome, Exports):
        return f"exported, {row.outcome.decibels} dB or more"
    return f"{row.outcome.error.__name__}: {row.outcome.reason} ... {row.outcome.remedy}"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
