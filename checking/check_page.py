"""The page of a check, check.html: a single file, with pictures as SVG, for the screen and for print."""

from pathlib import Path

import jinja2
import numpy as np

BARS = 40  # of the picture of lengths, at most
MOST_CLASSES = 100  # that the page shows


def page(summary, splits):
    """The page as text. summary: the content of check.json."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["visible"] = visible
    template = environment.get_template("check_page.html")
    return template.render(**summary, histogram=histogram(splits), shown=MOST_CLASSES)


def histogram(splits):
    """The share of the training rows of each range of lengths: pairs of the range, as text, and the share."""
    lengths = splits.texts.lengths[splits.split == 0]
    top = int(np.quantile(lengths, 0.999, method="inverted_cdf"))
    width = -(-(top + 1) // BARS)
    counts = np.bincount(np.minimum(lengths, top) // width)
    names = [str(i * width) if width == 1 else f"{i * width}–{(i + 1) * width - 1}" for i in range(len(counts))]
    names[-1] += " and more" if lengths.max() > top else ""
    return list(zip(names, (counts / len(lengths)).tolist(), strict=True))


def visible(text):
    """A text in which control and invisible characters are shown as escapes."""
    return "".join(c if c.isprintable() or c == "\u3000" else f"\\u{ord(c):04x}" for c in text)
