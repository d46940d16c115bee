"""Makes the pictures of the README from a server that runs.

python serve.py --model TextCNN
python tests/pictures.py http://127.0.0.1:8000 docs
"""

import sys
import tempfile
from pathlib import Path

from PIL import Image

from browser import Browser

SAMPLE = Path(__file__).parents[1] / "sample" / "data" / "test.txt"
ROWS = 8  # of the table
PICTURES = {"page.png": (1200, 1450, 1), "page_phone.png": (390, 844, 1.5)}  # width, height, pixels of a point


def main(url, directory):
    headlines = [line.split("\t")[0] for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(Path(profile))
        for name, (width, height, scale) in PICTURES.items():
            browser.call("Emulation.setScrollbarsHidden", hidden=True)
            browser.show(width=width, height=height, scale=scale, language="zh-CN")
            browser.open(url)
            browser.wait("document.querySelector('#model')?.options.length")
            browser.focus("#lines")
            browser.type("\n".join(headlines[:ROWS]))
            browser.click("#start")
            browser.wait("document.querySelector('#stop').hidden && document.querySelectorAll('#rows button').length")
            browser.focus("#text")
            browser.type(max(headlines[:ROWS], key=len))
            browser.wait("document.querySelectorAll('#marks [data-level]').length")
            browser.evaluate("scrollTo(0, 0)")
            browser.wait("!document.getAnimations().length")
            browser.picture(Path(directory) / name)
            Image.open(Path(directory) / name).quantize().save(Path(directory) / name, optimize=True)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
