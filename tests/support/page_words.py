"""Words of a report's HTML page: all, and those that are visible before a section is opened."""

from html.parser import HTMLParser
from pathlib import Path


class PageWords(HTMLParser):
    """Counts of words in the body: in `<details>` only the summary is visible."""

    def __init__(self) -> None:
        super().__init__()
        self.total = self.visible = 0
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in ("body", "details", "summary"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            self._open.remove(tag)

    def handle_data(self, data: str) -> None:
        if "body" in self._open:
            words = len(data.split())
            self.total += words
            hidden = "details" in self._open and "summary" not in self._open
            self.visible += 0 if hidden else words


def page_words(page: Path) -> tuple[int, int]:
    """Return the number of visible words and of all words of an HTML page."""
    found = PageWords()
    found.feed(page.read_text(encoding="utf-8"))
    return found.visible, found.total
