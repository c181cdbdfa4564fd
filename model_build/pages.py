"""Pieces of a page that needs no network and no script: style, tables, lists, pictures."""

import base64
from collections.abc import Sequence
from html import escape

_STYLE = """
body{font:15px/1.45 sans-serif;color:#222;max-width:1080px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em;margin-bottom:.1em}h2{font-size:1.15em;margin:1.8em 0 .4em}
h3{font-size:1em;margin:1.4em 0 .3em}
table{border-collapse:collapse;margin:.8em 0;font-variant-numeric:tabular-nums}
th,td{padding:.2em .7em;border-bottom:1px solid #ddd;text-align:left;vertical-align:top;
overflow-wrap:break-word}
td.number{text-align:right}.note{color:#555;font-size:.9em}img{max-width:100%}
.warn{background:#fff3cd;border-left:4px solid #d39e00;padding:.4em .8em;margin:.6em 0}
.good{background:#e6f4ea;border-left:4px solid #3c8c54;padding:.4em .8em;margin:.6em 0}
summary{cursor:pointer;color:#0b5394;margin:.5em 0}
"""


def page(title: str, sections: Sequence[str]) -> str:
    """The whole document.

    Args:
        title: Plain text.
        sections: HTML.
    """
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body>{''.join(sections)}</body></html>\n"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain texts; numbers stand to the right."""
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    lines = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>"


_MOST_ROWS = 20


def shortened(head: Sequence[str], rows: Sequence[Sequence[str]], what: str) -> str:
    """A table; of a long one the first rows, and all of them behind a click.

    Args:
        head: Titles of the columns.
        rows: Plain texts.
        what: The rows are.
    """
    if len(rows) <= _MOST_ROWS:
        return table(head, rows)
    return table(head, rows[:_MOST_ROWS]) + folded(f"all {len(rows)} {what}", table(head, rows))


def heading(text: str, level: int = 2) -> str:
    """Plain text above a section, or at level 3 above a part of one."""
    return f"<h{level}>{escape(text)}</h{level}>"


def folded(summary: str, inside: str) -> str:
    """HTML that is shown once its summary, plain text, is clicked."""
    return f"<details><summary>{escape(summary)}</summary>{inside}</details>"


def note(text: str) -> str:
    """Plain text, small."""
    return f'<p class="note">{escape(text)}</p>'


def warning(text: str) -> str:
    """Plain text that must be seen."""
    return f'<p class="warn">{escape(text)}</p>'


def good(text: str) -> str:
    """Plain text that puts at ease."""
    return f'<p class="good">{escape(text)}</p>'


def picture(svg: bytes, text: str) -> str:
    """A drawing as an image, so that no name inside it meets another drawing's.

    Args:
        svg: The drawing.
        text: What it shows, for those who do not see it.
    """
    data = base64.b64encode(svg).decode()
    return f'<p><img alt="{escape(text)}" src="data:image/svg+xml;base64,{data}"></p>'


def _cell(text: str) -> str:
    kind = ' class="number"' if _is_number(text) else ""
    return f"<td{kind}>{escape(text)}</td>"


def _is_number(text: str) -> bool:
    return bool(text) and text.strip("+-").replace(".", "", 1).isdecimal()
