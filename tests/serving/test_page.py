import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from conftest import sample_rows
from engine.predictor import Predict
from page_server import HOSTILE, running
from paged import BARS, CELLS, HAS_BARS, MARKS, choose, classify, download, open_page, type_text
from served import app_of
from serving.page import add_page


def test_bars_and_marks_appear_while_one_types(page, server):
    type_text(page, "股票涨了又跌")
    page.wait(MARKS)
    assert page.evaluate(BARS) == [["房产", "85.7%"], ["财经", "7.1%"], [HOSTILE, "7.1%"]]
    marks = "[...document.querySelectorAll('#marks [data-level]')].map((mark) => [mark.innerText, mark.dataset.level])"
    assert page.evaluate(marks) == [["涨", "4"], ["跌", "-2"]]
    assert page.text("#reasons") == "Decisive: 涨"
    assert page.evaluate("document.querySelector('#said').textContent") == "房产, 85.7% Decisive: 涨"
    asked = {"model": "flat", "text": "股票涨了又跌", "top_k": 3}
    assert server.requests == [asked, asked | {"explain": True}]
    type_text(page, " ")
    page.wait("document.querySelector('#answer').hidden")


def test_the_marks_are_behind_the_characters(page):
    page.show(width=390)
    type_text(page, "一些很长的文本，" * 9 + "涨\n")
    page.wait(MARKS)
    sizes = page.evaluate("['#marks', '#text'].map((s) => document.querySelector(s).getBoundingClientRect().toJSON())")
    assert sizes[0] == sizes[1]
    assert page.evaluate("document.querySelector('#text').scrollHeight") == round(sizes[0]["height"])


def test_a_late_answer_is_dropped(page, server):
    server.hold("迟")
    type_text(page, "迟")
    page.wait_for_event("Network.requestWillBeSent", lambda params: "postData" in params["request"])
    type_text(page, "涨")
    page.wait(MARKS)
    page.wait_for_event("Network.loadingFailed", lambda params: params["canceled"])
    server.release()
    assert page.evaluate(BARS)[0] == ["房产", "50.0%"]
    assert [query["text"] for query in server.requests] == ["迟", "涨", "涨"]


def test_the_letters_of_an_input_method_are_not_predicted(page):
    page.evaluate("window.timers = []; window.setTimeout = (...timer) => timers.push(timer)")  # before each request
    page.focus("#text")
    page.call("Input.imeSetComposition", text="zhang", selectionStart=5, selectionEnd=5)
    page.wait("document.querySelector('#marks').innerText.startsWith('zhang')")
    assert page.evaluate("timers.length") == 0
    page.type("涨")
    assert page.wait("timers.length") == 1


@pytest.mark.parametrize(
    ("language", "lang", "words"),
    [
        ("zh-CN", "zh-CN", "单条文本"),
        ("zh-TW", "zh-CN", "单条文本"),
        ("en-US", "en", "One text"),
        ("fr", "en", "One text"),
    ],
)
def test_the_language_is_the_browsers(page, server, language, lang, words):
    open_page(page, server.url, language=language)
    assert page.evaluate("document.documentElement.lang") == lang
    assert page.text("#one") == words
    assert page.evaluate("[...document.querySelectorAll('[data-word]')].every((element) => element.textContent)")


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_is_as_wide_as_the_screen(page, server, width):
    open_page(page, server.url, width=width, language="zh-CN")
    choose(page, "#model", "tree")
    type_text(page, "涨" * 60)
    page.wait(HAS_BARS)
    type_text(page, "\n".join(["很长的文本" * 19, "短"]), "#lines")
    page.click("#start")
    page.wait("document.querySelector('#stop').hidden")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_names_of_other_models_are_paths_or_several(page):
    choose(page, "#model", "tree")
    type_text(page, "涨")
    page.wait(HAS_BARS)
    assert page.evaluate(BARS)[0] == ["商业 › 房产", "50.0%"]
    choose(page, "#model", "several")
    page.wait("document.querySelector('#bars').innerText.includes('✓')")
    assert page.evaluate(BARS)[:2] == [["房产 ✓", "50.0%"], ["财经", "25.0%"]]
    type_text(page, "平")
    page.wait("!document.querySelector('#verdict').hidden")
    assert page.text("#verdict") == "No label"


def test_names_and_texts_are_shown_as_text(page):
    hostile = "<img src=x onerror=hacked()>涨涨"
    type_text(page, hostile)
    page.wait(MARKS)
    assert page.evaluate(BARS)[0][0] == HOSTILE
    classify(page, [hostile])
    assert page.evaluate(CELLS)[0][1:3] == [hostile, HOSTILE]
    assert page.evaluate("document.querySelectorAll('main script, main img').length") == 0


def test_a_busy_server_is_asked_again(page, server):
    server.replies.append((503, {"Retry-After": "0.5"}, {"detail": "the queue is full"}))
    page.evaluate(
        "window.said = []; new MutationObserver(() => said.push(document.querySelector('#state').textContent))"
        ".observe(document.querySelector('#state'), { childList: true })"
    )
    type_text(page, "涨")
    page.wait(HAS_BARS)
    assert "The server is busy. Next attempt in 0.5 s." in page.evaluate("said")
    assert page.evaluate("document.querySelector('#state').hidden")


@pytest.mark.parametrize(
    ("status", "message"),
    [(413, "The request is too large: why"), (422, "The server refused the request: why")],
)
def test_a_refusal_is_shown(page, server, status, message):
    server.replies.append((status, {}, {"detail": "why"}))
    type_text(page, "涨")
    assert page.wait("document.querySelector('#state').innerText") == message
    type_text(page, "涨涨")
    page.wait(HAS_BARS)


def test_a_server_that_is_gone_is_reported(page):
    page.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    type_text(page, "涨")
    assert page.wait("document.querySelector('#state').innerText") == "The server does not answer. Next attempt in 5 s."
    page.call("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    type_text(page, "涨涨")
    page.wait(HAS_BARS)


def test_the_key_of_the_server_is_asked_for(page, server):
    server.app.key = b"right"
    try:
        page.open(server.url)
        page.wait("document.querySelector('dialog').open")
        page.type("wrong")
        page.press("Enter")
        page.wait("document.querySelector('#wrong').innerText == 'The server does not accept this key.'")
        page.press("Escape")
        assert page.wait("document.querySelector('#failure p').innerText") == "The server needs a key."
        page.click("#failure button")
        page.wait("document.querySelector('dialog').open")
        page.type("right")
        page.press("Enter")
        page.wait("document.querySelector('#model').options.length")
        assert page.evaluate("document.querySelector('#failure').hidden")
    finally:
        server.app.key = None


def test_the_page_shows_what_a_model_predicts(browser, service, trained_svm):
    predictor = Predict("SVM", dataset=trained_svm, device="cpu")
    texts = [text for text, _ in sample_rows("test", {0, 1, 2}, 30)]
    expected = zip(texts, predictor.predict_list(texts), predictor.predict_proba(texts).max(axis=1), strict=True)
    service.paths, service.options = {"svm": predictor.path}, {"device": "cpu"}
    service.load()
    with running(app_of(service)) as url:
        open_page(browser, url)
        type_text(browser, texts[0])
        browser.wait(MARKS)
        assert browser.evaluate(BARS)[0][0] == predictor.predict(texts[0])
        classify(browser, texts)
        assert download(browser)[1:] == [[text, label, f"{share:.4f}"] for text, label, share in expected]


def test_the_browser_keeps_files_that_have_not_changed():
    app = FastAPI()
    add_page(app)
    client = TestClient(app)
    first = client.get("/static/page.js")
    assert first.headers["Content-Type"].startswith("text/javascript")
    again = client.get("/static/page.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.head("/").status_code == 200
    assert client.get("/static/..%2Fpage.py").status_code == client.get("/static/none.js").status_code == 404
    assert app.openapi()["paths"] == {}
