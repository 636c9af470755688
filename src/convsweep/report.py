"""A run's report, from its files alone: report.md, a self-contained report.html, figures."""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from convsweep import plots, store, tables
from convsweep.answer import answer as sentences
from convsweep.cases import split
from convsweep.contents import sections
from convsweep.findings import Run, read_run
from convsweep.labels import label_cases
from convsweep.noise import NOISE, measure_noise
from convsweep.noise import sentences as sentences_of_noise
from convsweep.sections import LONG_TABLE
from convsweep.statistics import asked_in, summarize
from convsweep.tables import escape_markdown

_ENOUGH_COMPARISONS = 20  # of a backend with itself; fewer say little of a machine


def write_report(run_dir: Path, out: Path, baseline: str | None = None) -> Path:
    """Write the report of the run in `run_dir` to `out`, over an older one; give its HTML page.

    Args:
        run_dir: the run's folder; its measurements are enough.
        out: the report's folder.
        baseline: the backend that speedups divide by; by default the run's own.

    Raises:
        ValueError: in one line, where `run_dir` is no run or `out` can't be written; then
            nothing is written.
    """
    measurements = store.load(run_dir)
    if measurements.empty:
        raise ValueError(f"{str(run_dir)!r} has no measurements to report")
    environment = store.read_environment(run_dir)
    _refuse_unless_report(out)
    asked = asked_in(environment)
    summary = summarize(measurements, baseline or asked.baseline, asked.margin)
    pictures = plots.figures(measurements, summary, asked.cases)
    run = read_run(measurements, summary, asked.cases)
    told = sections(run, run_dir)
    drawn = [*pictures, *(picture for section in told for picture in section.pictures)]
    images = {picture.name: plots.png(picture.figure) for picture in drawn}
    context = _context(run, label_cases(split(measurements).asked), environment)
    context |= {"sections": told, "long_table": LONG_TABLE}
    context |= {"pictures": pictures, "run": Path(run_dir).resolve().name}
    context |= {"noise": _noise(run_dir, environment)}
    context["answer"] += _ending(environment)
    inline = {name: base64.b64encode(image).decode("ascii") for name, image in images.items()}
    texts = {
        "report.md": _templates(html=False).get_template("report.md.j2").render(context),
        "report.html": _templates(html=True)
        .get_template("report.html.j2")
        .render(context, images=inline),
    }
    return _write(out, texts, images)


def _noise(run_dir: Path, environment: dict[str, Any]) -> list[str]:
    """What the latest A/A run beside this one, on the same machine, says of its timings."""
    beside = [
        (str(found.get("started_at")), path)
        for path in run_dir.resolve().parent.iterdir()
        if path.is_dir()
        and _is_noise(found := _told_by(path))
        and found.get("environment_id") == environment.get("environment_id")
    ]
    for _, path in sorted(beside, reverse=True):
        with suppress(ValueError):  # one that was interrupted or edited says nothing
            noise = measure_noise(store.load(path))
            if noise.comparisons >= _ENOUGH_COMPARISONS:
                return sentences_of_noise(noise, [])
    return []


def _ending(environment: dict[str, Any]) -> list[str]:
    """A sentence where a run did not come to its end; runs of version 1 do not tell."""
    if "request" not in environment or environment.get("ended") in ("passes", "settled", "budget"):
        return []
    how = "interrupted" if environment.get("ended") == "interrupted" else "cut off, or goes on"
    return [f"This run was {how}: what is here is what there was by then."]


def _is_noise(environment: dict[str, Any]) -> bool:
    request = environment.get("request")
    return isinstance(request, dict) and request.get("name") == NOISE


def _told_by(path: Path) -> dict[str, Any]:
    try:
        return store.read_environment(path)
    except (ValueError, OSError):
        return {}


def _context(run: Run, measurements: Any, environment: dict[str, Any]) -> dict[str, Any]:
    """What both pages tell, in their order."""
    return {
        "answer": sentences(run),
        "answer_table": tables.answer_table(run),
        "command": environment.get("command"),
        "what_was_run": tables.what_was_run(run, measurements),
        "environment": tables.environment_table(environment),
        "warnings": _words(environment.get("warnings")),
        "summary": tables.summary_table(run),
        "correctness": tables.correctness_table(run, measurements),
        "disturbances": tables.disturbance_table(run, measurements),
        "unsteady": tables.unsteady_table(run),
        "absent": tables.absent_table(run),
    }


def _words(value: object) -> list[str]:
    """A list of texts from a file that anyone may have edited."""
    return list(map(str, value)) if isinstance(value, list) else []


def _templates(*, html: bool) -> Environment:
    templates = Environment(
        loader=PackageLoader("convsweep"),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["cell"] = escape_markdown
    return templates


def _refuse_unless_report(out: Path) -> None:
    """Raise `ValueError` where `out` holds anything but an older report; write nothing."""
    store.refuse_unless_writable(out)
    if out.is_dir() and any(out.iterdir()) and not (out / "report.md").is_file():
        raise ValueError(f"{str(out)!r} is not an empty or new folder, nor an older report")


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
