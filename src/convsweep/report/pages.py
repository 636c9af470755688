"""Pages on the disk: Markdown, one self-contained HTML file, and their figures."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from convsweep.report.plots.style import Picture, png
from convsweep.report.section import LONG_TABLE
from convsweep.report.tables import escape_markdown
from convsweep.results import store


def require_report_folder(out: Path) -> None:
    """Raise `ValueError` where `out` holds anything but an older report; write nothing."""
    store.require_writable(out)
    if out.is_dir() and any(out.iterdir()) and not (out / "report.md").is_file():
        raise ValueError(f"{str(out)!r} is not an empty or new folder, nor an older report")


def write_pages(
    out: Path, template: str, context: Mapping[str, Any], pictures: Sequence[Picture]
) -> Path:
    """Write report.md, report.html and figures to `out`, over an older report; give the HTML page.

    Args:
        out: the report's folder.
        template: the name of both templates, without `.md.j2` and `.html.j2`.
        context: what they tell.
        pictures: every figure that they show.

    Raises:
        ValueError: in one line, where `out` can't be written.
    """
    images = {picture.name: png(picture.figure) for picture in pictures}
    inline = {name: base64.b64encode(image).decode("ascii") for name, image in images.items()}
    told = {**context, "long_table": LONG_TABLE, "images": inline}
    texts = {
        f"report.{kind}": _templates(html=kind == "html")
        .get_template(f"{template}.{kind}.j2")
        .render(told)
        for kind in ("md", "html")
    }
    return _write(out, texts, images)


def _templates(*, html: bool) -> Environment:
    templates = Environment(
        loader=PackageLoader("convsweep.report"),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["cell"] = escape_markdown
    return templates


def _older_figures(out: Path) -> set[str]:
    """The figures that the report in `out` shows: what an earlier call wrote."""
    page = out / "report.md"
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    return set(re.findall(r"\]\(figures/(\w+)\.png\)", text))


def _write(out: Path, texts: dict[str, str], images: dict[str, bytes]) -> Path:
    """Write figures, then pages; figures of an older report that are no more are removed."""
    try:
        folder = out / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        for name in _older_figures(out) - set(images):
            (folder / f"{name}.png").unlink(missing_ok=True)
        for name, image in images.items():
            (folder / f"{name}.png").write_bytes(image)
        for name, text in texts.items():
            (out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{str(out)!r} can't be written: {error.strerror}") from error
    return out / "report.html"
