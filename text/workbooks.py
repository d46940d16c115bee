"""Sheets of workbooks: xlsx, xls, xlsb and ods."""

import re
import zipfile
from collections import defaultdict

from python_calamine import PasswordError, SheetVisibleEnum, load_workbook

from cli.console import UserError, listing, reason, say

SIGNATURES = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
LARGEST = 1 << 30  # bytes of the unpacked parts of a workbook
NO_RESULT = re.compile(rb"</f>(<v */>|<v></v>)?</c>")  # the end of a cell whose formula was never computed
LONGEST_END = 20  # bytes of it


def is_workbook(path):
    """Whether a file is one by its first bytes. Raises UserError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(8).startswith(SIGNATURES)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {reason(error)}") from error


def read_sheet(path, name=None):
    """A description of a sheet, and a function that yields the cells of each of its rows, "" for a missing one.

    A cell that is merged with those below gives them its value. Without a name the only visible sheet that is not
    empty is read. Raises UserError if the workbook cannot be read or there are several such sheets.
    """
    try:
        _check_parts(path)
        with load_workbook(path) as book:
            shown = [sheet.name for sheet in book.sheets_metadata if sheet.visible == SheetVisibleEnum.Visible]
            names = [name] if name in book.sheet_names else [] if name else shown
            sheets = [sheet for sheet in map(book.get_sheet_by_name, names) if name or sheet.height]
            every = listing(book.sheet_names)
    except (KeyboardInterrupt, SystemExit, MemoryError, UserError):
        raise
    except PasswordError as error:
        raise UserError(f"{path} is protected by a password; save a copy without one") from error
    except BaseException as error:  # a panic of the library is no Exception
        raise UserError(f"{path} cannot be read as a workbook: {reason(error)}") from error
    if name and not sheets:
        raise UserError(f"{path} has no sheet {name!r}; it has {every}")
    if not sheets:
        raise UserError(f"{path} has no cells in its visible sheets, of {every}")
    if len(sheets) > 1:
        found = listing([sheet.name for sheet in sheets])
        raise UserError(f"{path} has {len(sheets)} sheets: {found}; choose one with --sheet NAME")
    below = _columns_below(sheets[0])
    form = f"sheet {sheets[0].name!r}" + (f", {len(below)} rows with merged cells filled" if below else "")
    return form, lambda: _filled_rows(sheets[0], below)


def _check_parts(path):
    """Raises UserError if a workbook would fill the memory, and warns of formulas without results."""
    if not zipfile.is_zipfile(path):  # of an older format, or damaged
        return
    with zipfile.ZipFile(path) as file:
        size = sum(part.file_size for part in file.infolist())
        if size > LARGEST:
            raise UserError(f"{path} has {size >> 20} MB unpacked, at most {LARGEST >> 20}; save it as csv")
        sheets = [part for part in file.namelist() if re.fullmatch(r"xl/worksheets/[^/]+\.xml", part)]
        if any(_lacks_results(file, part) for part in sheets):
            say(f"Warning: {path} has formulas without results, read as empty cells; open and save it in a spreadsheet")


def _lacks_results(file, part):
    with file.open(part) as content:
        end = b""
        while block := content.read(1 << 20):
            if NO_RESULT.search(end + block):
                return True
            end = block[-LONGEST_END:]
    return False


def _columns_below(sheet):
    """For each row the columns whose cells are merged with those above."""
    below = defaultdict(set)
    first, last = (sheet.start[1], sheet.end[0]) if sheet.start else (0, -1)
    for (top, column), (bottom, _) in sheet.merged_cell_ranges or []:
        if first <= column < first + sheet.width:
            for row in range(top + 1, min(bottom, last) + 1):
                below[row].add(column - first)
    return below


def _filled_rows(sheet, below):
    before = []
    for i, cells in enumerate(sheet.iter_rows()):
        for column in below.get(i, ()):
            cells[column] = before[column]
        yield cells
        before = cells
