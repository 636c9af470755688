"""HTML report in a browser; skipped if Chromium is not installed."""

from pathlib import Path

import pytest
from selenium import webdriver

from convsweep.report.build import write_report
from tests.browser.conftest import fetched, open_page
from tests.support import synthetic_runs as made


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report moved away from its figures, with a hostile reason in it."""
    folder = tmp_path_factory.mktemp("page")
    hostile = "<script>document.title='owned'</script><img src=x onerror=alert(1)>" + "x" * 300

    def judge(problem, backend, seconds):
        status, reason = made.outcome(problem, backend, seconds)
        return (status, hostile) if backend == "pointwise" and status != "ok" else (status, reason)

    run_dir = made.write(folder / "run", made.rows(made.grid(), judge=judge), made.ENVIRONMENT)
    moved = folder / "alone" / "report.html"
    moved.parent.mkdir()
    write_report(run_dir, folder / "out").rename(moved)
    return moved


@pytest.fixture(params=[360, 1280])
def opened(
    browser: webdriver.Chrome, page: Path, request: pytest.FixtureRequest
) -> webdriver.Chrome:
    """The page at the width of a phone and of a desk, all details open."""
    open_page(browser, page.as_uri(), request.param)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    return browser


def test_every_picture_is_there_and_described(opened):
    widths, alts = opened.execute_script(
        "const all = [...document.images];"
        "return [all.map(i => i.complete && i.naturalWidth), all.map(i => i.alt)]"
    )
    assert widths
    assert all(width > 1000 for width in widths)
    assert all(alts)


def test_the_answer_is_above_the_sections_and_on_a_desk_within_one_and_a_half_screens(opened):
    places = opened.execute_script(
        "return ['ul.findings', 'table', 'figure', 'details'].map(name => "
        "document.querySelector(name).getBoundingClientRect().top)"
    )
    assert places == sorted(places)
    assert places[-1] <= 1.5 * 900 or opened.execute_script("return innerWidth") < 1280


def test_print_shows_what_is_closed_on_the_screen(opened):
    height = (
        "document.querySelectorAll('details').forEach(d => d.open = false);"
        "return Math.min(...[...document.querySelectorAll('details table')]"
        ".map(t => t.checkVisibility() ? t.getBoundingClientRect().height : 0))"
    )
    assert opened.execute_script(height) == 0
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert opened.execute_script(height) > 0
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_nothing_scrolls_sideways_but_tables_and_figures_in_their_boxes(opened):
    page_width, window = opened.execute_script(
        "const d = document.documentElement; return [d.scrollWidth, d.clientWidth]"
    )
    assert page_width <= window
    outside = opened.execute_script(
        "return [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll') && "
        "e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)"
        ".map(e => e.tagName)"
    )
    assert outside == []


def test_tables_and_figures_fit_on_a_desk(opened):
    wider, window = opened.execute_script(
        "const boxes = [...document.querySelectorAll('.scroll')];"
        "return [boxes.filter(b => b.scrollWidth > b.clientWidth + 1)"
        ".map(b => b.getAttribute('aria-label')), innerWidth]"
    )
    assert wider == [] or window < 1280


def test_there_is_no_script_and_hostile_text_is_shown_as_text(opened):
    assert opened.execute_script("return document.scripts.length") == 0
    assert opened.title == "Convolution benchmark: run"
    assert "onerror=alert(1)" in opened.execute_script("return document.body.innerText")


def test_nothing_is_fetched_and_nothing_is_logged(opened, page):
    assert fetched(opened) == {page.as_uri()}
    assert opened.get_log("browser") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(opened, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    pairs = opened.execute_script(
        "const ground = e => { for (; e; e = e.parentElement) {"
        " const c = getComputedStyle(e).backgroundColor;"
        " if (!/, 0\\)$/.test(c)) return c; } return 'rgb(255, 255, 255)'; };"
        "return [...document.querySelectorAll('h1, li, td, th, pre, p, summary, figcaption')]"
        ".map(e => [getComputedStyle(e).color, ground(e)])"
    )
    assert pairs
    assert min(contrast(*pair) for pair in {tuple(pair) for pair in pairs}) >= 4.5


def contrast(one: str, other: str) -> float:
    """The contrast of two CSS colours as WCAG 2 defines it; 4.5 is enough for text."""
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(color: str) -> float:
    parts = [int(part) / 255 for part in color[color.index("(") + 1 : -1].split(",")[:3]]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
