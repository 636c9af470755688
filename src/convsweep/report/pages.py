"""Pages of a report: Markdown, one self-contained HTML file, and their figures."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from convsweep.formatting import printable
from convsweep.report.plots.style import Picture, pictures_by_setting, png
from convsweep.report.summary_text import sentences_by_setting
from convsweep.report.table import Table
from convsweep.report.tables import escape_markdown
from convsweep.results import store
from convsweep.results.files import complete_or_absent

LONG_TABLE = 12
"""A table with more rows is folded."""


class Section(NamedTuple):
    """One section of a page, under a heading of its own."""

    title: str
    sentences: Sequence[str] = ()  # findings, one per line
    tables: Sequence[tuple[str, Table]] = ()  # captions and tables; an empty caption is not shown
    pictures: Sequence[Picture] = ()
    notes: Sequence[str] = ()  # how it was measured, and limitations

    @classmethod
    def of_settings(
        cls,
        title: str,
        sentences: Mapping[str, Iterable[str]],
        tables: Sequence[tuple[str, Table]],
        pictures: Mapping[str, Iterable[Picture | None]],
        notes: Sequence[str],
    ) -> Section:
        """Return a section from tables with rows, and from sentences and pictures by setting.

        A single setting is not named and may be `""`.
        """
        filled = [(caption, table) for caption, table in tables if table.rows]
        drawn = pictures_by_setting(pictures)
        return cls(title, sentences_by_setting(sentences), filled, drawn, notes)


def require_report_folder(out: Path) -> None:
    """Check that `out` is new, empty or an older report; write nothing.

    Raises:
        ValueError: `out` contains other files or is not writable.
    """
    store.require_writable(out)
    if out.is_dir() and any(out.iterdir()) and not (out / "report.md").is_file():
        raise ValueError(f"{str(out)!r} is not an empty or new folder, nor an older report")


def write_pages(out: Path, title: str, sections: Sequence[Section]) -> Path:
    """Write report.md, report.html and the figures; return the path of the HTML page.

    The pages and figures of an older report in `out` are replaced.

    Raises:
        ValueError: `out` is not writable.
    """
    sections = _with_file_names(sections)
    images = {
        picture.name: png(picture.figure) for section in sections for picture in section.pictures
    }
    inline = {name: base64.b64encode(image).decode("ascii") for name, image in images.items()}
    context = {"title": title, "sections": sections, "long_table": LONG_TABLE, "images": inline}
    texts = {
        f"report.{kind}": _templates(html=kind == "html")
        .get_template(f"report.{kind}.j2")
        .render(context)
        for kind in ("md", "html")
    }
    try:
        _write(out, texts, images)
    except OSError as error:
        raise ValueError(f"{str(out)!r} is not writable: {error.strerror}") from error
    return out / "report.html"


def _with_file_names(sections: Sequence[Section]) -> list[Section]:
    """Return the sections with a file name per picture; those of two networks may be equal."""
    taken: set[str] = set()

    def named(picture: Picture) -> Picture:
        numbered = (f"{picture.name}_{number}" for number in count(2))
        own = next(one for one in chain([picture.name], numbered) if one not in taken)
        taken.add(own)
        return replace(picture, name=own)

    return [section._replace(pictures=[*map(named, section.pictures)]) for section in sections]


def _templates(*, html: bool) -> Environment:
    return Environment(
        loader=PackageLoader("convsweep.report"),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_printable if html else escape_markdown,
    )


def _printable(value: object) -> object:
    """Return text for HTML, which the template then escapes; leave its own parts as they are."""
    return value if isinstance(value, Markup) else printable(str(value))


def _write(out: Path, texts: dict[str, str], images: dict[str, bytes]) -> None:
    """Write pages and figures, or nothing; remove the figures that only the older report shows."""
    page = out / "report.md"
    older = page.read_text(encoding="utf-8", errors="replace") if page.is_file() else ""
    with complete_or_absent(out) as folder:
        (folder / "figures").mkdir()
        for name, image in images.items():
            (folder / "figures" / f"{name}.png").write_bytes(image)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    for name in set(re.findall(r"\]\(figures/(\w+)\.png\)", older)) - set(images):
        (out / "figures" / f"{name}.png").unlink(missing_ok=True)
