"""Many texts on the page: pasted or of a file, and the table."""

import csv
import json

import pytest

from page_server import HOSTILE
from paged import CELLS, MARKS, choose, choose_file, classify, download, type_text


def test_pasted_lines_become_a_table_that_is_sorted_filtered_and_downloaded(page):
    classify(page, ["平", "", "涨了一点", "=1+1", "涨涨了"])
    assert page.text("#found") == "Pasted text: 4 rows, blank lines skipped: 1"
    assert [cells[:3] for cells in page.evaluate(CELLS)] == [
        ["1", "平", "财经"],
        ["2", "涨了一点", "房产"],
        ["3", "=1+1", "财经"],
        ["4", "涨涨了", HOSTILE],
    ]
    page.focus("[data-sort=probability]")
    page.press("Enter")
    page.press("Enter")
    heads = "[...document.querySelectorAll('th')].map((head) => head.ariaSort)"
    assert page.evaluate(heads) == [None, None, None, "descending"]
    assert [cells[3] for cells in page.evaluate(CELLS)] == ["80.0%", "80.0%", "75.0%", "50.0%"]
    choose(page, "#below", 75)
    assert page.text("#download") == "Download 2 rows (.csv)"
    assert download(page) == [["text", "label", "probability"], ["涨涨了", HOSTILE, "0.7500"], ["平", "财经", "0.5000"]]
    choose(page, "#below", 100)
    assert download(page)[2] == ["'=1+1", "财经", "0.8000"]


def test_a_text_of_the_table_is_explained_above(page):
    classify(page, ["平", "涨了"])
    page.evaluate("document.querySelectorAll('#rows button')[1].click()")
    page.wait(MARKS)
    assert page.evaluate("document.querySelector('#text').value") == "涨了"


def test_a_file_is_read_and_keeps_its_columns(page, server, tmp_path):
    path = tmp_path / "news.csv"
    rows = [["id", "标题", "label"], ["1", '他说"涨",\n走了', "x"], ["2", "房价平稳了很久", "y"]]
    with open(path, "w", encoding="gb18030", newline="") as file:
        csv.writer(file).writerows(rows)
    choose_file(page, path)
    assert page.wait("document.querySelector('#found').innerText") == "news.csv: 2 rows, GB18030, delimiter: comma"
    assert page.evaluate("document.querySelector('#column').selectedOptions[0].text") == "2: 标题"
    assert page.evaluate("document.querySelector('#header').checked")
    page.click("#start")
    page.wait("document.querySelector('#done').innerText.startsWith('Done')")
    assert download(page) == [
        [*rows[0], "predicted_label", "probability"],
        [*rows[1], "房产", "0.9000"],
        [*rows[2], "财经", "0.8750"],
    ]
    choose(page, "#column", 2)
    page.click("#header")
    page.click("#start")
    page.wait("document.querySelector('#done').innerText.startsWith('Done')")
    assert server.requests[-1]["texts"] == ["label", "x", "y"]


def test_a_file_is_dropped_anywhere(page, tmp_path):
    path = tmp_path / "news.txt"
    path.write_text("涨, 又涨\n\n平\n", encoding="utf-8")
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        page.call("Input.dispatchDragEvent", type=kind, x=9, y=9, data=data)
    assert page.wait("document.querySelector('#found').innerText") == (
        "news.txt: 2 rows, UTF-8, blank lines skipped: 1"
    )


def test_the_table_remains_until_another_model_begins(page):
    classify(page, ["涨涨", "平"])
    choose(page, "#model", "several")
    assert page.text("#done") == "Done, with model flat."
    assert page.evaluate(CELLS)[0][2] == HOSTILE
    page.click("#start")
    page.wait("document.querySelector('#done').innerText == 'Done, with model several.'")
    assert download(page) == [
        ["text", "labels", "probabilities"],
        ["涨涨", "股票,财经", "0.6667,0.1667"],
        ["平", "", ""],
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xff\xff", "bad.csv: the encoding is not UTF-8, GB18030 or UTF-16"),
        (b'a,b\nc,"d', "bad.csv, line 2: a cell begins with a quote that is not closed"),
        (b"\n\n", "bad.csv: no texts"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(page, tmp_path, content, message):
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    choose_file(page, path)
    assert page.wait("document.querySelector('#found').innerText") == message
    assert page.evaluate("document.querySelector('#start').hidden")


def test_requests_keep_to_the_limits_and_can_be_stopped(page, server):
    server.hold("停")
    texts = ["短", "长" * 101, "短二", "短三", "停", "末"]
    type_text(page, "\n".join(texts), "#lines")
    page.click("#start")
    page.wait("document.querySelector('#count').innerText == '4 of 6 rows'")
    page.wait(f"{CELLS}[1]?.[2] == 'too long'")
    page.click("#stop")
    page.wait("document.querySelector('#done').innerText == 'Stopped.'")
    server.release()
    assert page.text("#start") == "Continue"
    page.click("#start")
    page.wait("document.querySelector('#done').innerText.startsWith('Done')")
    assert [query["texts"] for query in server.requests] == [["短", "短二", "短三"], ["停", "末"], ["停", "末"]]
    assert [row[1] for row in download(page)] == ["label", "财经", "", "财经", "财经", "财经", "财经"]


def test_few_rows_of_many_are_drawn(page, server):
    server.hold("1")
    page.evaluate(
        "(() => { const clipboardData = new DataTransfer();"
        "clipboardData.setData('text', Array.from({ length: 100_000 }, (_, i) => i + 1).join('\\n'));"
        "document.querySelector('#lines').dispatchEvent(new ClipboardEvent('paste', { clipboardData })) })()"
    )
    assert page.text("#found") == "Pasted text: 100,000 rows"
    page.click("#start")
    assert page.wait("document.querySelectorAll('#rows button').length") < 60
    page.evaluate("document.querySelector('#scroller').scrollTop = 1e9")
    page.wait("document.querySelector('#rows').innerText.includes('100000')")
    assert page.evaluate("document.querySelectorAll('#rows tr').length") < 60
    ends = [
        f"document.querySelector('{s}').getBoundingClientRect().bottom"
        for s in ("#scroller", "#rows tr:nth-last-child(2)")
    ]
    assert abs(page.evaluate(" - ".join(ends))) < 2
    assert page.evaluate("document.querySelector('table').ariaRowCount") == "100001"


@pytest.mark.parametrize(
    ("text", "delimiter", "quoted", "rows"),
    [
        ("a,b\r\nc,d\r\n", ",", True, [["a", "b"], ["c", "d"]]),
        ('"a,""b""\n",c', ",", True, [['a,"b"\n', "c"]]),
        ('"a"b,c"', ",", True, [["ab", 'c"']]),
        ('"a"\tb', "\t", False, [['"a"', "b"]]),
        ("a|\rb|c", "|", True, [["a", ""], ["b", "c"]]),
        (",\n \na", "", False, [[","], ["a"]]),
        ('"a, b"\nc', "", True, [["a, b"], ["c"]]),
        ('""""', ",", True, [['"']]),
    ],
)
def test_rows_of_cells(opened, text, delimiter, quoted, rows):
    assert of_csv(opened, "parse", text, {"delimiter": delimiter, "quoted": quoted})["rows"] == rows


def of_csv(opened, function, *arguments):
    """What a function of csv.js returns."""
    return opened.evaluate(f"import('/static/csv.js').then((csv) => csv.{function}(...{json.dumps(arguments)}))")


@pytest.mark.parametrize(
    ("text", "usual", "delimiter", "quoted"),
    [
        ("a,b\nc,d", ",", ",", True),
        ("a;b,c\nd;e", ",", ";", True),
        ("a,b\tc\nd,e\tf", "\t", "\t", False),
        ("a\tb\nc\td", "", "\t", False),
        ('a\t"b\nc"\nd\te', "", "\t", True),
        ("a\tb\nc", "", "", False),
        ("a,b\nc,d", "", "", False),
        ("a\nb, c\nd", ",", "", True),
    ],
)
def test_the_form_of_a_file(opened, text, usual, delimiter, quoted):
    found = of_csv(opened, "findForm", text, usual)
    assert (found["delimiter"], found["quoted"]) == (delimiter, quoted)


@pytest.mark.parametrize(
    ("rows", "column", "has_header"),
    [
        ([["id", "text"], ["1", "一条很长的文本"], ["2", "另一条长文本"]], 1, True),
        ([["1", "很长的文本"], ["2", "另一条长文本"]], 1, False),
        ([["一条文本", "体育"], ["另一条长文本", "体育"]], 0, False),
        ([["短"], ["一条长的文本"]], 0, False),
        ([["只有一行", "x"]], 0, False),
    ],
)
def test_the_column_of_the_texts(opened, rows, column, has_header):
    assert of_csv(opened, "guessColumn", rows) == {"column": column, "hasHeader": has_header}
