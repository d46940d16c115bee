"""Workbooks with changes: odd cells, damaged parts, damaged bytes."""

import zipfile
from xml.sax.saxutils import escape

from tests.fuzz.inputs_text import Case, files_of, odd_text
from tests.fuzz.mutations import damage_bytes, damage_text

PACKAGE = "http://schemas.openxmlformats.org/package/2006"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
CONTENT = "application/vnd.openxmlformats-officedocument.spreadsheetml"
TYPES = (
    f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="xml" ContentType="application/xml"/>'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{CONTENT}.sheet.main+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{CONTENT}.worksheet+xml"/></Types>'
)
SHEETS = (
    f'<workbook xmlns="{MAIN}" xmlns:r="{LINKS}"><sheets><sheet name="a" sheetId="1" r:id="rId1"/></sheets></workbook>'
)
MERGED = ("A2:A3", "B2:C9", "A1:XFD1", "C2:C1048576", "B9:A1", "A0:B0", "ZZZZZ1:A2", "")


def link(target, kind):
    link = f'<Relationship Id="rId1" Type="{LINKS}/{kind}" Target="{target}"/>'
    return f'<Relationships xmlns="{PACKAGE}/relationships">{link}</Relationships>'


def cell_of(value, place):
    """A cell's XML: a text, or if the value is a pair, the type and the content of the cell."""
    if isinstance(value, tuple):
        return f'<c r="{place}" t="{value[0]}">{value[1]}</c>'
    return f'<c r="{place}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'


def parts_of(rows, merged=()):
    """The parts of a workbook, names to XML."""
    lines = []
    for i, row in enumerate(rows, 1):
        cells = "".join(cell_of(value, f"{letter}{i}") for letter, value in zip("ABC", row, strict=True))
        lines.append(f'<row r="{i}">{cells}</row>')
    data = f"<sheetData>{''.join(lines)}</sheetData>"
    spans = "".join(f'<mergeCell ref="{span}"/>' for span in merged)
    spans = f"<mergeCells>{spans}</mergeCells>" if spans else ""
    return {
        "[Content_Types].xml": TYPES,
        "_rels/.rels": link("xl/workbook.xml", "officeDocument"),
        "xl/workbook.xml": SHEETS,
        "xl/_rels/workbook.xml.rels": link("worksheets/sheet1.xml", "worksheet"),
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{MAIN}">{data}{spans}</worksheet>',
    }


def write_book(path, parts):
    """Writes a workbook; the same parts give the same bytes."""
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(zipfile.ZipInfo(name), content.encode("utf-8", "surrogatepass"), zipfile.ZIP_DEFLATED)


def odd_cell(rng):
    number = rng.choice(("1", "-0", "0.1", "1e999", "45000.5", "nan", "x", ""))
    kinds = [("n", f"<v>{number}</v>"), ("b", f"<v>{number}</v>"), ("d", "<v>2024-01-01</v>"), ("e", "<v>#N/A</v>")]
    kinds += [("s", f"<v>{number}</v>"), ("str", "<f>1+1</f>"), ("str", "<f>1+1</f><v/>"), ("x", "<v>1</v>")]
    return rng.choice((*kinds, odd_text(rng), "a\nb"))


def workbook(rng, base, directory, name):
    """A workbook of labelled rows with changes."""
    rows = [line.split(",") for line in (base / "labelled.csv").read_text(encoding="utf-8").splitlines()]
    path, way = directory / name, rng.random()
    if way < 0.1:
        write_book(path, parts_of(rows))
        return Case("unchanged", {"name": name})
    done = []
    for _ in range(rng.choice((0, 1, 1, 5))):
        place = rng.randrange(len(rows))
        rows[place][rng.randrange(3)] = odd_cell(rng)
        done.append(f"cell in row {place}: {rows[place]!r:.60}")
    merged = rng.choice(((), (), rng.sample(MERGED, 2)))
    parts = parts_of(rows, merged)
    if way < 0.5:
        part = rng.choice(list(parts))
        parts[part], what = damage_text(rng, parts[part])
        done.append(f"{part}: {what}")
    write_book(path, parts)
    if way > 0.7:
        content, what = damage_bytes(rng, path.read_bytes(), files_of(base))
        path.write_bytes(content)
        done.append(what)
    options = {
        "name": name,
        "sheet": rng.choice((None, None, "a", "b", "")),
        "encoding": rng.choice((None, None, "utf-8")),
    }
    return Case(f"{', '.join(done)}; merged {merged}", options)
