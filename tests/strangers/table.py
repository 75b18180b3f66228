"""The page of the table: `python -m tests.strangers.table` writes `docs/strangers.md`."""

from __future__ import annotations

from pathlib import Path

from lightning_esp import Streaming
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
    return "\n".join([head, *(section(title, rows) for title, rows in FAMILIES.items())])


def section(title: str, rows: tuple[Stranger, ...]) -> str:
    """A heading and its table."""
    lines = [f"## {title}", "", "| architecture | input | asked for | outcome |", "| --- | --- | --- | --- |"]
    lines += [f"| {row.name} | `{row.layout}` | {asked(row)} | {outcome(row)} |" for row in rows]
    return "\n".join([*lines, ""])


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
