import datetime
import shutil
import zipfile

import openpyxl
import pytest

from cli.console import UserError
from conftest import FIXTURES
from text import workbooks
from text.tables import as_text, open_table


def write_book(path, rows, merged=(), more=()):
    """Writes a workbook with these rows in its first sheet, `data`. more: names of sheets with one cell."""
    book = openpyxl.Workbook()
    book.active.title = "data"
    for row in rows:
        book.active.append(row)
    for cells in merged:
        book.active.merge_cells(cells)
    for name in more:
        book.create_sheet(name).append(["x"])
    book.save(path)
    return book


def test_cells_of_all_types(tmp_path):
    day, moment = datetime.date(2024, 2, 1), datetime.datetime(2024, 2, 1, 8, 30)
    rows = [["文本", "类别", "n"], ["好\n的", 1, 0.5], [], ["坏", True, day], [" 007", moment, None]]
    write_book(tmp_path / "a.xlsx", rows)
    table = open_table(tmp_path / "a.xlsx")
    assert table.form == "sheet 'data'"
    assert table.names == ["文本", "类别", "n"]
    assert [(row.line, [as_text(cell) for cell in row.cells]) for row in table.rows()] == [
        (2, ["好\n的", "1", "0.5"]),
        (3, []),
        (4, ["坏", "true", "2024-02-01"]),
        (5, [" 007", "2024-02-01 08:30:00", ""]),
    ]


def test_merged_cells_have_their_value(tmp_path):
    rows = [[], [None, "text", "label"], [None, "a", "好"], [None, "b"], [None, "c"], [None, "d", "坏"], [None, "e"]]
    write_book(tmp_path / "a.xlsx", rows, ["C3:C5", "Z3:Z9", "C7:C900"])
    table = open_table(tmp_path / "a.xlsx")
    assert table.form == "sheet 'data', 2 rows with merged cells filled"
    assert [(row.line, row.cells) for row in table.rows()] == [
        (3, ["a", "好"]), (4, ["b", "好"]), (5, ["c", "好"]), (6, ["d", "坏"]), (7, ["e", ""])
    ]  # fmt: skip


def test_formulas_without_results_are_told(tmp_path, capsys):
    write_book(tmp_path / "a.xlsx", [["text", "label"], ["好", "=1+1"]])
    assert [row.cells for row in open_table(tmp_path / "a.xlsx").rows()] == [["好", ""]]
    assert "a.xlsx has formulas without results, read as empty cells" in capsys.readouterr().err
    write_book(tmp_path / "a.xlsx", [["text", "label"], ["好", "2"]])
    open_table(tmp_path / "a.xlsx")
    assert capsys.readouterr().err == ""


def test_the_sheet_is_the_only_one_or_is_named(tmp_path):
    book = write_book(tmp_path / "a.xlsx", [["text", "label"]], more=["说明"])
    with pytest.raises(UserError, match="has 2 sheets: data, 说明; choose one with --sheet NAME"):
        open_table(tmp_path / "a.xlsx")
    assert open_table(tmp_path / "a.xlsx", "说明").names == ["x"]
    with pytest.raises(UserError, match="has no sheet '数据'; it has data, 说明"):
        open_table(tmp_path / "a.xlsx", "数据")
    book.create_sheet("空")
    book["说明"].sheet_state = "hidden"
    book.save(tmp_path / "b.xlsx")
    assert open_table(tmp_path / "b.xlsx").names == ["text", "label"]
    (tmp_path / "a.csv").write_text("text,label\n")
    with pytest.raises(UserError, match=r"--sheet data names a sheet, but .*a\.csv is no workbook"):
        open_table(tmp_path / "a.csv", "data")


def test_workbooks_that_cannot_be_read(tmp_path, monkeypatch):
    """password.xlsx: encrypted by msoffcrypto."""
    with pytest.raises(UserError, match=r"password\.xlsx is protected by a password"):
        open_table(FIXTURES / "password.xlsx")
    write_book(tmp_path / "a.xlsx", [])
    with pytest.raises(UserError, match="has no cells in its visible sheets, of data"):
        open_table(tmp_path / "a.xlsx")
    content = (tmp_path / "a.xlsx").read_bytes()
    (tmp_path / "b.xlsx").write_bytes(content[:-100])
    with zipfile.ZipFile(tmp_path / "c.xlsx", "w") as file:
        file.writestr("x", "x")
    for name in ("b.xlsx", "c.xlsx"):
        with pytest.raises(UserError, match=f"{name} cannot be read as a workbook: "):
            open_table(tmp_path / name)
    monkeypatch.setattr(workbooks, "LARGEST", 1 << 10)
    with pytest.raises(UserError, match=r"a\.xlsx has 0 MB unpacked, at most 0; save it as csv"):
        open_table(tmp_path / "a.xlsx")


def test_a_workbook_is_known_by_its_content(tmp_path):
    write_book(tmp_path / "a.xlsx", [["text", "label"], ["好", 1]])
    shutil.move(tmp_path / "a.xlsx", tmp_path / "a.csv")
    assert open_table(tmp_path / "a.csv").names == ["text", "label"]
    (tmp_path / "b.xlsx").write_text("text,label\n好,1\n", encoding="utf-8")
    assert open_table(tmp_path / "b.xlsx").names == ["text", "label"]
