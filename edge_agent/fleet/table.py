"""CSV as spreadsheets write it, read strictly: every cell knows its place, and nothing is guessed.

RFC 4180 with comma or semicolon (the header line says which), LF or CRLF, with or without a byte
order mark. Unlike the standard library's reader it keeps lines and columns and refuses a stray
quote, a bare carriage return and a row that has more or fewer cells than the header.
"""

import re

import msgspec

from edge_agent.configtree import Place, Problem

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u0085\u2028\u2029\ufeff\ufffe\uffff]")
_AS_CSV = "Save the sheet as CSV in UTF-8, with commas or semicolons."


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the table."""

    line: int
    cells: tuple[str, ...]
    starts: tuple[tuple[int, int], ...] | None
    """Line and column of each cell; None: all in this line and without quotes."""

    def place(self, file: str, index: int) -> Place:
        """Where a cell begins."""
        if self.starts is not None:
            return Place(file, *self.starts[index])
        before = sum(len(cell) + 1 for cell in self.cells[:index])
        return Place(file, self.line, before + 1)


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A sheet: the header's names and the rows that are as long as it."""

    header: Row
    rows: tuple[Row, ...]


class Reader:
    """Reads one file; gathers what is wrong with it.

    Args:
        file: What to call it.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self.problems: list[Problem] = []

    def table(self, data: bytes) -> Table | None:
        """The sheet, without the rows that were refused; None where nothing can be read."""
        text = self._decoded(data)
        if text is None:
            return None
        separator = self._separator(text)
        if separator is None:
            return None
        rows = self._rows(text, separator)
        if not rows:
            return None
        header, *body = rows
        return Table(
            header=header, rows=tuple(row for row in body if self._fits(row, header, separator))
        )

    def refuse(self, place: Place, found: str, hint: str, key: str = "") -> None:
        """Note what is wrong."""
        self.problems.append(Problem(place=place, key=key, found=found, hint=hint))

    def _decoded(self, data: bytes) -> str | None:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            self.refuse(Place(self._file), "is UTF-16, not UTF-8", _AS_CSV)
            return None
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            found = f"is not UTF-8: found byte 0x{data[error.start]:02x}"
            self.refuse(Place(self._file, line), found, _AS_CSV)
            return None
        if odd := _CONTROL.search(text):
            before = text[: odd.start()]
            place = Place(self._file, before.count("\n") + 1, odd.start() - before.rfind("\n"))
            self.refuse(place, f"found the character U+{ord(odd[0]):04X}", "Take it away.")
            return None
        return text

    def _separator(self, text: str) -> str | None:
        header = text.partition("\n")[0]
        if not header.strip():
            self.refuse(
                Place(self._file, 1), "the first line names no columns", "Begin with the header."
            )
            return None
        if "," in header and ";" in header:
            found = "the header has both commas and semicolons"
            self.refuse(Place(self._file, 1), found, "Part the columns by one of the two.")
            return None
        if "\t" in header:
            self.refuse(Place(self._file, 1), "the header has tabs", _AS_CSV)
            return None
        return ";" if ";" in header else ","

    def _rows(self, text: str, separator: str) -> list[Row]:
        rows: list[Row] = []
        lines = text.split("\n")
        at = 0
        while at < len(lines):
            row, at = self._row(lines, at, separator)
            if row is not None and any(row.cells):
                rows.append(row)
        return rows

    def _row(self, lines: list[str], at: int, separator: str) -> tuple[Row | None, int]:
        """The row that begins in a line, and the line after it."""
        text = lines[at].removesuffix("\r")
        if '"' not in text:
            if "\r" in text:
                place = Place(self._file, at + 1, text.index("\r") + 1)
                self.refuse(place, "found a carriage return without a line feed", _AS_CSV)
                return None, at + 1
            return Row(line=at + 1, cells=tuple(text.split(separator)), starts=None), at + 1
        return self._quoted_row(lines, at, separator)

    def _quoted_row(self, lines: list[str], at: int, separator: str) -> tuple[Row | None, int]:
        first, column = at, 0
        text = lines[at].removesuffix("\r")
        cells: list[str] = []
        starts: list[tuple[int, int]] = []
        while True:
            starts.append((at + 1, column + 1))
            if not text.startswith('"', column):
                end = text.find(separator, column)
                cell = text[column:] if end < 0 else text[column:end]
                if '"' in cell or "\r" in cell:
                    place = Place(self._file, at + 1, column + 1)
                    hint = 'Put the whole cell in quotes and write each quote in it twice: "".'
                    self.refuse(place, "found a quote inside a cell", hint)
                    return None, at + 1
                cells.append(cell)
                column += len(cell)
            else:
                closed = self._quoted_cell(lines, at, column)
                if closed is None:
                    # Whatever follows may belong to this cell: reading on would be a guess.
                    return None, len(lines)
                cell, at, column = closed
                cells.append(cell)
                text = lines[at].removesuffix("\r")
                if column < len(text) and text[column] != separator:
                    place = Place(self._file, at + 1, column + 1)
                    hint = 'Put the whole cell in quotes and write each quote in it twice: "".'
                    self.refuse(place, "found text behind a closing quote", hint)
                    return None, at + 1
            if column >= len(text):
                return Row(line=first + 1, cells=tuple(cells), starts=tuple(starts)), at + 1
            column += 1

    def _quoted_cell(self, lines: list[str], at: int, column: int) -> tuple[str, int, int] | None:
        """The text of a cell in quotes, and line and column behind it."""
        first = Place(self._file, at + 1, column + 1)
        parts: list[str] = []
        start = column + 1
        while at < len(lines):
            text = lines[at]
            end = text.find('"', start)
            while end >= 0 and text.startswith('""', end):
                end = text.find('"', end + 2)
            if end >= 0:
                parts.append(text[start:end])
                return "\n".join(parts).replace('""', '"'), at, end + 1
            parts.append(text[start:].removesuffix("\r"))
            at, start = at + 1, 0
        self.refuse(first, "the quote that begins here is never closed", 'Close it with ".')
        return None

    def _fits(self, row: Row, header: Row, separator: str) -> bool:
        named, found = len(header.cells), len(row.cells)
        if found == named:
            return True
        hint = "Part the cells as the header does."
        if found > named and separator == ",":
            hint += " A decimal comma parts a number in two: write 53.5, not 53,5."
        place = row.place(self._file, named if found > named else found - 1)
        self.refuse(place, f"the row has {found} cells, and the header {named}", hint)
        return False
