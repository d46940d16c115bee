"""The page in a browser: fixtures, and what a person does there."""

import codecs
import csv
import io

import pytest

from browser import Browser

MARKS = "document.querySelectorAll('#marks [data-level]').length"
HAS_BARS = "document.querySelectorAll('#bars li').length"
BARS = "[...document.querySelectorAll('#bars li')].map((row) => row.innerText.split(/\\s*\\n\\s*/))"
CELLS = (
    "[...document.querySelectorAll('#rows tr:not(.spacer)')].map((row) => [...row.cells].map((cell) => cell.innerText))"
)


@pytest.fixture(scope="session")
def server():
    """A server with the page and stand-ins for models, see `page_server.StandIn`."""
    from page_server import StandIn, running

    stand_in = StandIn()
    with running(stand_in.app) as stand_in.url:
        yield stand_in
        stand_in.release()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def opened(browser, server):
    """The browser with the page of any test."""
    open_page(browser, server.url)
    return browser


@pytest.fixture
def page(browser, server):
    """The page as it opens, in English. After the test: nothing was loaded from elsewhere, and nothing went wrong."""
    server.requests.clear()
    server.replies.clear()
    open_page(browser, server.url)
    yield browser
    server.release()
    browser.evaluate("sessionStorage.clear()")
    urls = [params["request"]["url"] for name, params in browser.events if name == "Network.requestWillBeSent"]
    assert [url for url in urls if not url.startswith((server.url, "data:", "blob:"))] == []
    logged = [params["entry"] for name, params in browser.events if name == "Log.entryAdded"]
    assert [entry["text"] for entry in logged if entry["source"] != "network"] == []  # such as a violation of the CSP
    assert [params for name, params in browser.events if name == "Runtime.exceptionThrown"] == []


def open_page(browser, url, **options):
    browser.show(**options)
    browser.open(url)
    browser.wait("document.querySelector('#model')?.options.length")


def choose(page, selector, value):
    page.evaluate(
        f"(() => {{ const found = document.querySelector('{selector}'); found.value = '{value}'; "
        "found.dispatchEvent(new Event('input')); found.dispatchEvent(new Event('change')); })()"
    )


def type_text(page, text, selector="#text"):
    page.focus(selector)
    page.evaluate("document.activeElement.select()")
    page.type(text)


def classify(page, lines):
    """Pastes lines and waits until they are classified."""
    type_text(page, "\n".join(lines), "#lines")
    page.click("#start")
    page.wait("document.querySelector('#done').innerText.startsWith('Done')")


def download(page):
    """The rows of the file that the page's button makes."""
    page.events.clear()
    page.click("#download")
    guid = page.wait_for_event("Browser.downloadWillBegin")["guid"]
    page.wait_for_event("Browser.downloadProgress", lambda p: p["guid"] == guid and p["state"] == "completed")
    (path,) = page.downloads.iterdir()
    content = path.read_bytes()
    path.unlink()
    assert content.startswith(codecs.BOM_UTF8)
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def choose_file(page, path):
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    page.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])
