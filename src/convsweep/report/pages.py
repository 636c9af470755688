"""Pages of a report: Markdown, one self-contained HTML file, and their figures."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from convsweep.formatting import printable
from convsweep.report.plots.style import Picture, pictures_by_setting, pngs
from convsweep.report.table import Table
from convsweep.report.tables import escape_markdown, markdown
from convsweep.results import store
from convsweep.results.files import complete_or_absent


class Section(NamedTuple):
    """Section of a page, folded under its title."""

    title: str
    sentence: str = ""  # its finding
    tables: Sequence[tuple[str, Table]] = ()  # captions and tables; an empty caption is not shown
    pictures: Sequence[Picture] = ()
    note: str = ""  # the limitation that a reader has to know

    @classmethod
    def of_settings(
        cls,
        title: str,
        sentence: str,
        tables: Sequence[tuple[str, Table]],
        pictures: Mapping[str, Iterable[Picture | None]],
        note: str = "",
    ) -> Section:
        """Return a section from tables with rows, and from pictures by setting.

        A single setting is not named and may be `""`.
        """
        filled = [(caption, table) for caption, table in tables if table.rows]
        return cls(title, sentence, filled, pictures_by_setting(pictures), note)


class Overview(NamedTuple):
    """First screen of a page: all that is visible before a section is opened."""

    sentences: Sequence[str] = ()
    table: Table = Table((), ())
    pictures: Sequence[Picture] = ()
    not_covered: str = ""
    command: str = ""  # measures what is not covered
    note: str = ""  # the command that narrows intervals which are too wide to be shown


class Page(NamedTuple):
    """Page of a report."""

    title: str
    overview: Overview = Overview()
    sections: Sequence[Section] = ()
    beside: Mapping[str, str] = {}  # further files, by name

    @property
    def pictures(self) -> Iterator[Picture]:
        """All pictures, in the order of the page."""
        return chain(self.overview.pictures, *(section.pictures for section in self.sections))


def require_report_folder(out: Path) -> None:
    """Check that `out` is new, empty or an older report; write nothing.

    Raises:
        ValueError: `out` contains other files or is not writable.
    """
    store.require_writable(out)
    if out.is_dir() and any(out.iterdir()) and not (out / "report.md").is_file():
        raise ValueError(f"{str(out)!r} is not an empty or new folder, nor an older report")


def write_pages(out: Path, page: Page) -> Path:
    """Write report.md, report.html, the figures and further files; return the path of report.html.

    The pages and figures of an older report in `out` are replaced.

    Raises:
        ValueError: `out` is not writable.
    """
    page = _with_file_names(page)
    pictures = [*page.pictures]
    encoded = pngs(picture.figure for picture in pictures)
    images = {one.name: image for one, image in zip(pictures, encoded, strict=True)}
    inline = {name: base64.b64encode(image).decode("ascii") for name, image in images.items()}
    texts = {
        f"report.{kind}": _templates(html=kind == "html")
        .get_template(f"report.{kind}.j2")
        .render(page=page, images=inline)
        for kind in ("md", "html")
    }
    texts |= page.beside
    try:
        _write(out, texts, images)
    except OSError as error:
        raise ValueError(f"{str(out)!r} is not writable: {error.strerror}") from error
    return out / "report.html"


def _with_file_names(page: Page) -> Page:
    """Return the page with a file name per picture; those of two networks may be equal."""
    taken: set[str] = set()

    def named(picture: Picture) -> Picture:
        numbered = (f"{picture.name}_{number}" for number in count(2))
        own = next(one for one in chain([picture.name], numbered) if one not in taken)
        taken.add(own)
        return replace(picture, name=own)

    overview = page.overview._replace(pictures=[*map(named, page.overview.pictures)])
    sections = [one._replace(pictures=[*map(named, one.pictures)]) for one in page.sections]
    return page._replace(overview=overview, sections=sections)


def _templates(*, html: bool) -> Environment:
    escape = printable if html else escape_markdown
    templates = Environment(
        loader=PackageLoader("convsweep.report"),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, Markup) else escape(str(value)),
    )
    templates.filters["markdown"] = lambda table: Markup(markdown(table))
    return templates


def _write(out: Path, texts: dict[str, str], images: dict[str, bytes]) -> None:
    """Write pages and figures, or nothing; remove what only the older report has."""
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
    for name in {"explore.html", "separable_gap.csv"} - texts.keys():
        (out / name).unlink(missing_ok=True)
