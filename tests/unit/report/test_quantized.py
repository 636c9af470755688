"""int8 in reports: never the fastest, and beside float32 with its error."""

from dataclasses import replace
from pathlib import Path

import pytest

from convsweep.analysis.best_backend import best_backends, fastest, read_best_backends
from convsweep.analysis.families.candidates import read_candidates
from convsweep.analysis.quantized import mean_speedups, read_quantized
from convsweep.analysis.run import Run, read_run
from convsweep.analysis.summary import summarize
from convsweep.report.build import write_report
from convsweep.report.sections import quantized
from convsweep.report.summary_text import MOST_WORDS, quantized_sentence
from convsweep.results.schema import Row
from convsweep.results.store import load
from convsweep.sweep.request import Options, read_request
from tests.support import synthetic_runs as made

pytestmark = pytest.mark.usefixtures("unexplored")

PROBLEMS = made.grid((16, 64), (14, 28), (3,))
FLOAT = ("torch_conv", "openvino", "onnxruntime")
INT8 = ("openvino_int8", "onnxruntime_int8")
FACTORS = {"torch_conv": 3.0, "openvino": 2.0, "onnxruntime": 2.0, INT8[0]: 1.0, INT8[1]: 0.5}


def measured(backends: tuple[str, ...] = FLOAT + INT8, passes: int = 5) -> list[Row]:
    rows = made.rows(
        PROBLEMS,
        backends=backends,
        passes=passes,
        noise=0.002,
        seconds=lambda problem, backend, device: 1e-5 * FACTORS[backend],
    )
    error = {"sqnr_db": 36.0, "relative_err": 2e-2, "error_ratio": None}
    return [
        replace(row, sample_flags="projected|quantized", **error)
        if row.backend in INT8
        else replace(row, sqnr_db=130.0)
        for row in rows
    ]


def read(folder: Path, rows: list[Row]) -> Run:
    measurements = load(made.write(folder / "run", rows))
    return read_run(measurements, summarize(measurements), planned=len(PROBLEMS) * 5)


def test_int8_is_in_no_comparison_of_backends(tmp_path: Path) -> None:
    run = read(tmp_path, measured())
    assert run.missing_cases == 0
    assert run.backends == sorted(FLOAT, key=lambda name: (name != "torch_conv", name))
    assert not {*INT8} & {*best_backends(run)["backend"], *fastest(run)["backend"]}
    assert not {*INT8} & {*read_candidates(run)[0].cases["backend"]}
    assert not {*INT8} & {*read_best_backends(tmp_path / "run").table["backend"]}
    assert {*run.quantized["backend"]} == {*INT8}
    assert len(run.within(run.settings[0]).cases) == len(PROBLEMS) * len(FLOAT)


def test_each_int8_case_is_compared_with_its_engine(tmp_path: Path) -> None:
    run = read(tmp_path, measured())
    cases = read_quantized(run)
    assert len(cases) == len(PROBLEMS) * len(INT8)
    means = mean_speedups(run, cases)
    for name, ratio in zip(INT8, (2.0, 4.0), strict=True):
        assert means[name].value == pytest.approx(ratio, rel=0.02)
        assert means[name].low < ratio < means[name].high
    assert all(case.sqnr_db == 36.0 for case in cases)
    [sentence] = quantized_sentence(run)
    assert len(sentence.split()) <= MOST_WORDS
    found = quantized.section(run)
    assert found is not None
    assert found.sentence == sentence
    assert [len(table.rows) for _, table in found.tables] == [len(cases)]


def test_an_int8_mismatch_is_a_failure_as_others(tmp_path: Path) -> None:
    rows = [
        replace(row, status="mismatch", reason="is noise", **dict.fromkeys(TIMES))
        if (row.backend, row.pass_index) == (INT8[0], 1)
        else row
        for row in measured()
    ]
    run = read(tmp_path, rows)
    assert {*run.cases.loc[run.cases["status"] == "mismatch", "backend"]} == {INT8[0]}
    assert {*run.quantized["backend"]} == {INT8[1]}


TIMES = ("min_s", "p05_s", "median_s", "p95_s")


def test_a_request_of_int8_alone_or_against_int8_is_refused() -> None:
    both = Options(grid="smoke", backends=[INT8[0], "im2col"])
    assert read_request(both).baseline == "im2col"
    for refused in (replace(both, backends=INT8), replace(both, baseline=INT8[0])):
        with pytest.raises(ValueError, match=INT8[0]) as raised:
            read_request(refused)
        assert str(raised.value).isprintable()


def test_without_the_engine_in_float32_there_is_no_speedup(tmp_path: Path) -> None:
    run = read(tmp_path, measured(("torch_conv", INT8[0]), passes=1))
    [sentence] = quantized_sentence(run)
    assert "speedups" not in sentence
    assert len(read_quantized(run)) == len(PROBLEMS)


def test_a_report_has_a_section_on_int8_and_older_runs_have_none(tmp_path: Path) -> None:
    made.write(tmp_path / "run", measured())
    write_report(tmp_path / "run", tmp_path / "report")
    text = (tmp_path / "report/report.md").read_text()
    assert text.count("int8 is another function (SQNR 36.0 dB)") == 2  # on the first screen, too
    older = [replace(row, sqnr_db=None) for row in measured(FLOAT)]
    assert quantized.section(read(tmp_path / "older", older)) is None
