"""Page to explore a run, in a browser."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.support.ui import WebDriverWait

from convsweep.analysis.run import read_run
from convsweep.analysis.summary import summarize
from convsweep.formatting import printable
from convsweep.report.explore import explore_page
from convsweep.results import store
from convsweep.results.schema import Row
from tests.browser.conftest import fetched, open_page
from tests.support import synthetic_runs as made
from tests.support.hostile_names import NAMES

SCRIPT = """
const roots = Bokeh.documents[0].roots();
const control = title => roots.find(root => root.title == title);
const plot = roots.find(root => root.type == "Figure");
const source = roots.find(root => root.type == "DataTable").source;
const data = source.data;
function all(selector, root = document) {
  const hosts = [...root.querySelectorAll("*")].filter(one => one.shadowRoot);
  return [root, ...hosts.map(one => one.shadowRoot)].flatMap(
    (one, i) => i ? all(selector, one) : [...one.querySelectorAll(selector)]);
}
const tooltips = () => all(".bk-Tooltip").map(one => one.shadowRoot.textContent);
"""


def written(path: Path, rows: Iterable[Row]) -> Path:
    measurements = store.load(made.write(path.parent / "run", rows))
    run = read_run(measurements, summarize(measurements))
    path.write_text(explore_page(run, "</title><script>alert(1)</script>"), encoding="utf-8")
    return path


def ask(browser: webdriver.Chrome, script: str, *values: Any) -> Any:
    return browser.execute_script(SCRIPT + script, *values)


def wait(browser: webdriver.Chrome, condition: str) -> None:
    WebDriverWait(browser, 30).until(lambda _: ask(browser, f"return {condition}"), condition)


def opened(browser: webdriver.Chrome, address: str, width: int = 1280) -> None:
    open_page(browser, address, width)
    WebDriverWait(browser, 60).until(
        lambda _: browser.execute_script("return window.Bokeh?.documents[0]?.is_idle")
    )
    wait(browser, "source.name !== null")


def press(browser: webdriver.Chrome, *keys: str) -> None:
    ActionChains(browser).send_keys(*keys).perform()


def tab_to(browser: webdriver.Chrome, condition: str) -> None:
    """Press the tab key until the element that has the focus meets a condition."""
    for _ in range(60):
        press(browser, Keys.TAB)
        if ask(
            browser,
            "let on = document.activeElement;"
            "while (on.shadowRoot?.activeElement) on = on.shadowRoot.activeElement;"
            f"return {condition}",
        ):
            return
    raise AssertionError(condition)


def hover(browser: webdriver.Chrome) -> None:
    """Move the pointer to the first point."""
    x, y = ask(
        browser,
        "const {frame, canvas_view} = Bokeh.index.get(plot);"
        "const box = canvas_view.el.getBoundingClientRect();"
        "return [box.left + frame.x_scale.compute(data.x[0]),"
        " box.top + frame.y_scale.compute(data.value[0])]",
    )
    pointer = ActionChains(browser)
    pointer.w3c_actions.pointer_action.move_to_location(round(x), round(y))
    pointer.perform()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run of two dtypes."""
    rows = made.rows(made.grid(sizes=(14, 56)), passes=3)
    rows += [replace(row, dtype="bfloat16", min_bytes=row.min_bytes // 2) for row in rows]
    return written(tmp_path_factory.mktemp("explore") / "explore.html", rows)


@pytest.mark.parametrize("width", [360, 1280])
def test_it_draws_fits_and_fetches_nothing(
    browser: webdriver.Chrome, page: Path, width: int
) -> None:
    opened(browser, page.as_uri(), width)
    colored = (
        "all('canvas').flatMap(one => [...new Uint32Array(one.getContext('2d')"
        ".getImageData(0, 0, one.width, one.height).data.buffer)])"
        ".filter(one => (one >>> 24) && (one & 255) != (one >>> 8 & 255)).length"
    )
    wait(browser, f"{colored} > 200")
    assert ask(browser, "return source.get_length()") > 20
    page_width, window = ask(
        browser, "const d = document.documentElement; return [d.scrollWidth, d.clientWidth]"
    )
    assert page_width <= window
    assert fetched(browser) == {page.as_uri()}
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_keys_alone_choose_filter_sort_and_zoom(browser: webdriver.Chrome, page: Path) -> None:
    opened(browser, page.as_uri())
    tab_to(browser, "on.tagName == 'SELECT'")
    press(browser, "Im")
    assert ask(browser, "return control('Horizontal axis').value") == "input_size"
    press(browser, Keys.TAB, Keys.TAB, Keys.TAB, "Time")
    wait(browser, "data.time_value.every((one, i, them) => !i || them[i - 1] <= one)")
    tab_to(browser, "on.type == 'text'")
    press(browser, "C16", Keys.ENTER)
    wait(browser, "data.label.length && data.label.every(one => one.includes('C16'))")
    tab_to(browser, "on.title == 'Zoom In'")
    before = ask(browser, "return plot.x_range.end - plot.x_range.start")
    press(browser, Keys.ENTER)
    wait(browser, f"plot.x_range.end - plot.x_range.start < {before}")
    tab_to(browser, "on.tagName == 'A'")  # behind the table


def test_a_choice_is_filtered_by_and_drawn(browser: webdriver.Chrome, page: Path) -> None:
    opened(browser, page.as_uri())
    ask(browser, "control('Backend').value = ['separable', 'im2col']")
    ask(browser, "control('Data type').value = ['bfloat16']")
    ask(browser, "control('Vertical axis').value = 'gflops'")
    wait(browser, "plot.left[0].axis_label == 'GFLOP/s'")
    assert set(ask(browser, "return data.backend")) == {"separable", "im2col"}
    assert set(ask(browser, "return data.dtype")) == {"bfloat16"}
    assert ask(browser, "return data.value") == ask(browser, "return data.gflops_value")
    assert ask(browser, "return data.low.every((one, i) => one <= data.value[i])")


def test_a_click_on_a_head_sorts(browser: webdriver.Chrome, page: Path) -> None:
    opened(browser, page.as_uri())
    head = ask(browser, "return all('.slick-header-column').find(e => /GFLOP/.test(e.innerText))")
    head.click()
    rows = "all('.slick-row').sort((a, b) => a.offsetTop - b.offsetTop).map(e => e.innerText)"
    wait(browser, f"({rows})[0].includes(data.gflops_text[data.gflops_value.indexOf("
                  "Math.min(...data.gflops_value))])")  # fmt: skip


def test_the_address_brings_the_view_back(browser: webdriver.Chrome, page: Path) -> None:
    opened(browser, page.as_uri())
    ask(browser, "control('Horizontal axis').value = 'dtype'")
    ask(browser, "control('Vertical axis').value = 'time'")
    ask(browser, "control('Colour').value = 'input_size'")
    ask(browser, "control('Backend').value = []")
    ask(browser, "control('Problem contains').value = 'k3'")
    wait(browser, "location.hash.includes('find=k3') && location.hash.includes('backend=')")
    tab_to(browser, "on.title == 'Zoom In'")
    press(browser, Keys.ENTER)
    wait(browser, "location.hash.includes('zoom=')")
    view = (
        "return [roots.map(one => one.value), [plot.x_range, plot.y_range].map(one => "
        "[one.start, one.end].map(end => end.toPrecision(3))), data.label, data.value, data.color]"
    )
    address, before = browser.current_url, ask(browser, view)
    opened(browser, address)
    assert ask(browser, view) == before
    assert browser.current_url == address


@pytest.mark.parametrize("state", ["x=nothing&backend=nobody&zoom=1&zoom=x", "%%%&zoom", "="])
def test_an_address_of_another_run_is_ignored(
    browser: webdriver.Chrome, page: Path, state: str
) -> None:
    opened(browser, f"{page.as_uri()}#{state}")
    assert ask(browser, "return control('Horizontal axis').value") == "in_channels"
    assert ask(browser, "return source.get_length()") > 20
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_point_shows_its_details(browser: webdriver.Chrome, page: Path) -> None:
    opened(browser, f"{page.as_uri()}#y=time&backend=loop&find=C4+14x14+k1&dtype=float32")
    hover(browser)
    wait(browser, "tooltips().some(text => text.includes(data.time_text[0]))")


def test_names_are_text(browser: webdriver.Chrome, tmp_path: Path) -> None:
    names = [name for name in NAMES if set(name) & set("<&$")]
    rows = [
        replace(row, layer=name, workload=names[place % len(names)], backend=backend)
        for place, name in enumerate(NAMES)
        for row in made.rows([made.square(4 + place, 14, 3)], backends=["torch_conv"], passes=1)
        for backend in ("torch_conv", *names)
    ]
    page = written(tmp_path / "explore.html", rows)
    opened(browser, f"{page.as_uri()}#x=label&backend=")
    labels = set(ask(browser, "return data.label"))
    assert all(any(printable(name) in label for label in labels) for name in NAMES)
    count = "return ['script', 'img', '[onerror]'].map(one => all(one).length)"
    before = ask(browser, count)
    ask(browser, "all('.choices').forEach(one => one.click())")
    ask(browser, "control('Backend').value = [...new Set(data.backend)]")
    ask(browser, "control('Colour').value = 'workload'")
    wait(browser, "location.hash.includes('color=workload')")
    hover(browser)
    wait(browser, "tooltips().some(text => text.includes(data.label[0]))")
    assert ask(browser, count) == before
    assert before[1:] == [0, 0]
    shown = ask(browser, "return all('.choices__item').map(one => one.firstChild.textContent)")
    assert {printable(name) for name in names} <= set(shown)
    legend = ask(browser, "return all('span').map(one => one.parentElement.innerText).join()")
    assert printable(names[0]) in legend
    assert browser.title == "</title><script>alert(1)</script>"
    assert fetched(browser) == {page.as_uri()}
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
