"""Small pieces of HTML; whatever comes from outside is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: object) -> str:
    """Escape a value, unless it is markup."""
    return value if isinstance(value, Markup) else escape(str(value))


def tag(name: str, *content: object, **attributes: object) -> Markup:
    """Make an element; `class_` and `aria_label` become `class` and `aria-label`.

    Example:
        >>> tag("p", "a < b", class_="soft")
        '<p class="soft">a &lt; b</p>'
    """
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(str(v))}"' for key, v in attributes.items())
    return Markup(f"<{name}{given}>{''.join(text(part) for part in content)}</{name}>")


def join(parts: Sequence[object], between: str = "") -> Markup:
    """Put pieces in a row."""
    return Markup(between.join(text(part) for part in parts))


def table(caption: str, header: Sequence[str], rows: Sequence[Sequence[object]], numbers: Sequence[int] = ()) -> Markup:
    """Make a table whose first column names the rows.

    Args:
        caption: what it says.
        header: names of the columns.
        rows: cells.
        numbers: columns of numbers, which are set flush right.
    """
    right = {column: {"class_": "n"} for column in numbers}
    head = tag("tr", *(tag("th", name, scope="col", **right.get(i, {})) for i, name in enumerate(header)))
    body = [
        tag(
            "tr",
            *(
                tag(
                    "td" if i else "th",
                    cell if i else _break_names(cell),
                    **({} if i else {"scope": "row"}),
                    **right.get(i, {}),
                )
                for i, cell in enumerate(row)
            ),
        )
        for row in rows
    ]
    content = (tag("caption", caption), tag("thead", head), tag("tbody", *body))
    return tag("div", tag("table", *content), class_="wide", tabindex="0", role="region", aria_label=caption)


def _break_names(cell: object) -> object:
    """A path of a module may break behind its dots, and nowhere inside a word."""
    if isinstance(cell, Markup) or not isinstance(cell, str) or " " in cell:
        return cell
    return Markup(text(cell).replace(".", ".<wbr>").replace("/", "/<wbr>"))


def figure(picture: Markup, caption: str) -> Markup:
    """A picture with what it shows; on a narrow screen the picture keeps its size and is pushed aside."""
    return tag("figure", tag("div", picture, class_="wide", tabindex="0"), tag("figcaption", caption))


def number(value: Any, digits: int = 4) -> str:
    """A figure for people: thousands set apart, no needless digits; text as it is."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}".replace(",", "\u202f")
    return f"{value:.{digits}g}" if abs(value) < 1000 else f"{round(value):,}".replace(",", "\u202f")


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count} bytes" if count < 2048 else f"{count / 1024:.1f} KiB"
