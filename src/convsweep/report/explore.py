"""Page to explore a run: points, a table and filters in one file that needs no network."""

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from bokeh import models
from bokeh.document import Document
from bokeh.embed import file_html
from bokeh.events import DocumentReady, RangesUpdate, Reset
from bokeh.models import widgets
from bokeh.models.annotations import Span
from bokeh.plotting import figure
from bokeh.resources import Resources
from markupsafe import escape

from convsweep import formatting
from convsweep.analysis.run import Run, top_backends
from convsweep.formatting import printable
from convsweep.report.explore_columns import (
    DERIVED,
    ENDS,
    TITLES,
    Axis,
    lines_along,
    read_axis,
    read_measures,
)
from convsweep.report.plots.style import GREY, looks
from convsweep.results.machines import machine_names

_SYMBOLS = {
    "o": ("circle", "●"), "s": ("square", "■"), "^": ("triangle", "▲"), "D": ("diamond", "◆"),
    "v": ("inverted_triangle", "▼"), "P": ("plus", "✚"), "X": ("x", "✖"), "*": ("star", "★"),
    "<": ("hex", "⬢"), ">": ("square_pin", "✦"),
}  # fmt: skip
"""Names in Bokeh of the markers of figures, and characters for the legend."""
_MOST_COLORS, _MOST_TICKS, _MOST_BACKENDS = 12, 30, 8
_SLOW = 0.05  # largest speedup of a backend that is not shown at first
_TICKS = [digit * 10.0**exponent for exponent in range(-12, 16) for digit in (1, 2, 5)]
_NUMBER = """
if (tick < 0.001) return tick.toExponential()
return tick.toLocaleString("en", tick < 1e5 ? {} : {notation: "compact"})
"""


def explore_page(run: Run, title: str) -> str:
    """Return the HTML page of the cases that have a time."""
    cases = run.cases[run.cases["status"] == "ok"]
    run = run._replace(cases=cases.assign(environment_id=machine_names(cases, cases)))
    best = run.cases.groupby("backend")["speedup"].max()
    first = [name for name in top_backends(run, _MOST_BACKENDS).backends
             if name == run.baseline or not best[name] < _SLOW]  # fmt: skip
    few = len(run.backends) <= _MOST_BACKENDS  # with the colours that they have in figures
    order = run.backends if few else [*dict.fromkeys((*first, *run.backends))]
    axes = {name: read_axis(run.cases, name, order) for name in TITLES}
    varied = {name: axis for name, axis in axes.items() if len(axis.names) > 1}
    varied = varied or {"label": axes["label"]}
    measures = read_measures(run.cases, run.baseline)
    coded: dict[str, Any] = {name: axis.codes for name, axis in axes.items()}
    coded |= {f"line_{name}": lines_along(run.cases, name) for name in varied}
    for name, one in measures.items():
        coded |= {f"{name}_{end}": one.ends[end].to_numpy("float32") for end in ENDS}
        coded[f"{name}_text"] = one.texts
    colored = {name: _looks(axis.names) for name, axis in varied.items()
               if name == "backend" or len(axis.names) <= _MOST_COLORS}  # fmt: skip
    colored = colored or {"backend": _looks(axes["backend"].names)}
    controls = _controls(varied, {name: one.title for name, one in measures.items()}, [*colored])
    if 1 < len(first) < len(run.backends):
        controls["backend"].value = [*map(printable, first)]
    heads = {name: (TITLES[name], axes[name].names) for name in ("backend", "setting", "label")
             if name != "setting" or name in varied}  # fmt: skip
    heads |= {f"{name}_text": (one.title.partition(" (")[0], one.texts)  # a text has its unit
              for name, one in measures.items()}  # fmt: skip
    plot, parts = _plot({name: title for name, (title, _) in heads.items()})
    legend = widgets.Div(disable_math=True, sizing_mode="stretch_width")
    glue = models.CustomJS(
        code=_template("explore.js"),
        args={
            **parts, "plot": plot, "legend": legend, "controls": controls,
            "start": {name: control.value for name, control in controls.items()},
            "coded": models.ColumnDataSource(coded),
            "names": {name: axis.names for name, axis in axes.items()},
            "axes": {name: _scale(TITLES[name], axis) for name, axis in varied.items()},
            "measures": {name: one.title for name, one in measures.items()},
            "looks": colored,
        },
    )  # fmt: skip
    for control in controls.values():
        control.js_on_change("value", glue)
    plot.js_on_event(RangesUpdate, glue)
    plot.js_on_event(Reset, glue)
    document = Document(title=printable(title))
    document.js_on_event(DocumentReady, glue)
    with document.models.freeze():  # one search for models, not one per root
        for root in (*controls.values(), legend, plot, _table(parts["source"], heads)):
            document.add_root(root)
    offline = Resources("inline", log_level="error")
    return file_html(document, offline, template=_template("explore.html.j2"))


def _template(name: str) -> str:
    return (resources.files("convsweep.report") / "templates" / name).read_text("utf-8")


def _scale(title: str, axis: Axis) -> dict[str, Any]:
    """Return the parts of a horizontal axis: logarithmic if the names are numbers."""
    places = axis.numbers or [*range(len(axis.names))]
    labels = [formatting.shorten(name, 24) for name in axis.names]
    named = models.CustomJSTickFormatter(args={"labels": labels}, code="return labels[tick]")
    return {
        "places": places,
        "hint": "log" if axis.numbers else "auto",
        "scale": models.LogScale() if axis.numbers else models.LinearScale(),
        "axis": {
            "axis_label": title,
            "ticker": models.FixedTicker(
                ticks=_TICKS if axis.numbers and len(places) > _MOST_TICKS else places
            ),
            "formatter": models.CustomJSTickFormatter(code=_NUMBER) if axis.numbers else named,
            "major_label_orientation": 0 if axis.numbers else 0.6,
        },
    }


def _looks(names: Sequence[str]) -> list[dict[str, str]]:
    """Return colour, marker, and entry of the legend, which is HTML, per name."""
    found = []
    for name, look in zip(names, looks(names).values(), strict=True):
        marker, symbol = _SYMBOLS[look.marker]
        entry = f'<span style="color:{look.color}">{symbol}</span>&nbsp;{escape(name)}'
        found.append({"color": look.color, "marker": marker, "entry": entry})
    return found


def _controls(
    varied: Mapping[str, Axis], measures: dict[str, str], colored: Sequence[str]
) -> dict[str, Any]:
    """Return the widgets, named as in the address."""
    along = next((name for name in ("in_channels", "macs") if name in varied), next(iter(varied)))
    choices: dict[str, tuple[str, dict[str, str], str]] = {
        "x": ("Horizontal axis", {name: TITLES[name] for name in varied}, along),
        "y": ("Vertical axis", measures, next(iter(measures))),
        "color": ("Colour", {name: TITLES[name] for name in colored}, colored[0]),
        "order": ("Sort table by", {"label": "Problem", **measures}, "label"),
    }
    common: dict[str, Any] = {"sizing_mode": "stretch_width", "name": "view"}
    controls: dict[str, Any] = {
        name: widgets.Select(title=title, options=list[Any](options.items()), value=value, **common)
        for name, (title, options, value) in choices.items()
    }
    common["name"] = "filter"
    partitions = {axis.codes.tobytes(): name for name, axis in reversed([*varied.items()])}
    for name in reversed([*partitions.values()]):
        if name not in DERIVED:
            options: list[Any] = [(one, str(escape(one))) for one in varied[name].names]  # HTML
            controls[name] = widgets.MultiChoice(
                title=TITLES[name], options=options, placeholder="all", **common
            )
    if "backend" in controls:
        controls["backend"].styles = {"grid-column": "1 / -1"}
    controls["find"] = widgets.TextInput(title="Problem contains", **common)
    return controls


def _plot(heads: Mapping[str, str]) -> tuple[figure, dict[str, Any]]:
    """Return an empty figure, and the sources and the line that the page fills."""
    plot = figure(
        height=480, sizing_mode="stretch_width", x_axis_type="log", y_axis_type="log",
        tools="pan,box_zoom,wheel_zoom,zoom_in,zoom_out,reset,save", active_drag="box_zoom",
        toolbar_location="above",
    )  # fmt: skip
    plot.toolbar.logo = None
    plot.yaxis.ticker = models.FixedTicker(ticks=_TICKS)
    plot.yaxis.formatter = models.CustomJSTickFormatter(code=_NUMBER)
    plot.axis.major_label_policy = models.NoOverlap()
    plot.axis.axis_label_text_font_style = "normal"
    plot.axis.major_label_text_font_size = "13px"
    source, paths = (
        models.ColumnDataSource({name: [] for name in names})
        for names in ((*ENDS, "x", "color", "marker", *heads), ("xs", "ys", "color"))
    )
    plot.multi_line("xs", "ys", color="color", alpha=0.4, source=paths)
    plot.segment("x", "low", "x", "high", color="color", alpha=0.6, source=source)
    points = plot.scatter(
        "x", "value", marker="marker", size=8, color="color", alpha=0.8, source=source
    )
    tooltips = [(title, f"@{name}") for name, title in heads.items()]
    plot.add_tools(models.HoverTool(renderers=[points], tooltips=tooltips, visible=False))
    same = Span(location=1, dimension="width", line_dash="dashed", line_color=GREY)
    plot.add_layout(same)
    return plot, {"source": source, "paths": paths, "same": same}


def _table(
    source: models.ColumnDataSource, heads: Mapping[str, tuple[str, Sequence[str]]]
) -> widgets.DataTable:
    """Return the table; a click on a head sorts by numbers, of which it shows the texts."""
    columns = [
        widgets.TableColumn(
            field=name.replace("_text", "_value"),
            title=title,
            width=min(300, 24 + 7 * max(map(len, (title, *texts)))),
            formatter=widgets.HTMLTemplateFormatter(template=f"<%- {name} %>"),
        )
        for name, (title, texts) in heads.items()
    ]
    return widgets.DataTable(
        source=source, columns=columns, height=400, index_position=None, reorderable=False,
        selectable=False,  # with cells to select, the tab key would walk through all of them
        sizing_mode="stretch_width", autosize_mode="none",
    )  # fmt: skip
