"""Commands in an empty folder: exit codes, files, and errors in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import convsweep
from convsweep.analysis.cases import split
from convsweep.analysis.summary import SUMMARY_COLUMNS
from convsweep.problems.grids import GRIDS
from convsweep.results.store import read_environment
from tests.support.typed_commands import Command, typing_into

TEXTBOOK = {
    name
    for name, backend in convsweep.list_backends().items()
    if backend.family == "basic" and not backend.only_by_name
}
SMOKE_CASES = len(GRIDS["smoke"].layers()) * len(TEXTBOOK)


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Run a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return typing_into(capsys, monkeypatch)


def loaded_by(*words: str | Path, code: int = 0) -> list[str]:
    """The heavy packages that a command imports which ends with the exit code."""
    script = (
        "import sys; from convsweep.cli import main\n"
        "try: main(sys.argv[1:])\n"
        f"except SystemExit as end: assert (end.code or 0) == {code}\n"
        "heavy = ('torch', 'pandas', 'matplotlib', 'scipy', 'bokeh')\n"
        "print('loaded', *(name for name in heavy if name in sys.modules))"
    )
    command = [sys.executable, "-c", script, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize(
    "words", ["--help", "list backends", "list grids", "list workloads", "run --dry-run"]
)
def test_what_measures_nothing_imports_no_heavy_package(words: str) -> None:
    assert loaded_by(*words.split()) == []


BOTH = ("--threads 0", "--backend nosuch", "--budget soon", "--input 1,x", "--out .")


@pytest.mark.parametrize(
    "words",
    [*(f"{name} {option}" for name in ("advise", "optimize") for option in BOTH),
     "advise --budget 2s", "advise --dtype int8", "advise --direction up", "advise --resume",
     "advise --memory-format nchw", "advise --device tpu", "optimize --max-error 0"],
)  # fmt: skip
def test_a_wrong_option_is_refused_before_a_heavy_import(words: str) -> None:
    command, *options = words.split()
    assert loaded_by(command, "nosuch.py:net", "--input", "1,3,9,9", *options, code=2) == []


@pytest.mark.parametrize(("words", "code"), [("list grids", 0), ("run --grid nosuch", 2)])
def test_a_process_ends_with_its_exit_code_after_its_exit_handlers(words: str, code: int) -> None:
    script = "import atexit, os, convsweep.cli as cli\natexit.register(os.write, 1, b'last')\n"
    command = [sys.executable, "-c", f"{script}cli.run_process()", *words.split()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout[-4:]) == (code, "last")
    assert len(done.stdout + done.stderr) > 40


@pytest.mark.parametrize("grid", GRIDS)
def test_a_dry_run_prints_a_plan_and_measures_nothing(
    grid: str, command: Command, tmp_path: Path
) -> None:
    result = command("run", "--grid", grid, "--dry-run")
    assert result.code == 0
    problems = len(set(GRIDS[grid].layers()))
    assert f"on {problems} problems (" in result.out
    assert f", {GRIDS[grid].passes} passes: about" in result.out
    assert not list(tmp_path.iterdir())


def test_a_dry_run_of_a_shard_names_it(command: Command) -> None:
    result = command("run", "--grid", "smoke", "--shard", "2/4", "--dry-run")
    assert result.out.startswith(f"shard 2/4: {SMOKE_CASES // 4} cases on 1 problem (")


def test_a_dry_run_of_a_workload_contains_its_macs(command: Command) -> None:
    result = command("run", "--workload", "mobilenetv1_100", "--dry-run")
    assert "19 problems (568 MMACs)" in result.out


@pytest.mark.parametrize("what", ["backends", "grids", "workloads", "devices"])
def test_list_contains_every_entry(what: str, command: Command) -> None:
    expected = {
        "backends": convsweep.list_backends(),
        "grids": GRIDS,
        "workloads": ["mobilenetv1_100", "resnet50", "convbench_sample"],
        "devices": ["cpu"],
    }
    result = command("list", what)
    assert result.code == 0
    for name in expected[what]:
        assert name in result.out


def test_env_describes_the_machine(command: Command) -> None:
    result = command("env")
    assert result.code == 0
    for word in ("cpu", "torch", "warnings"):
        assert word in result.out


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("smoke") / "run"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "convsweep",
            "run",
            "--grid",
            "smoke",
            "--out",
            out,
            "--profile-overhead",
        ],
        env={**os.environ, "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert all(" measured" in line for line in done.stderr.splitlines())
    assert "speedup over torch_conv" in done.stdout
    return out


def test_resuming_a_finished_run_imports_no_heavy_package_and_changes_nothing(smoke: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in smoke.iterdir()}
    assert loaded_by("run", "--grid", "smoke", "--out", smoke, "--resume") == []
    assert {path: path.stat().st_mtime_ns for path in smoke.iterdir()} == before


def test_a_run_measures_every_backend(smoke: Path) -> None:
    rows, ceilings, _ = split(convsweep.load(smoke))
    assert set(ceilings["backend"]) == {"matmul", "copy"}
    assert set(ceilings["status"]) == {"ok"}
    ok = rows[rows["status"] == "ok"]
    assert set(ok["backend"]) == TEXTBOOK
    assert set(rows["status"]) == {"ok", "skipped"}
    assert len(rows) == GRIDS["smoke"].passes * SMOKE_CASES
    assert (ok["error_ratio"] < 10).all()
    assert (ok["min_s"] <= ok["median_s"]).all()
    assert (ok["median_s"] <= ok["p95_s"]).all()
    assert rows.loc[rows["status"] == "skipped", "median_s"].isna().all()


def test_the_overhead_of_all_phases_adds_up_to_the_run(smoke: Path) -> None:
    found = read_environment(smoke)
    phases, spent = found["overhead"], found["time_spent"]
    assert {f"{phase}_s": one["seconds"] for phase, one in phases.items()} | {
        "wall_s": spent["wall_s"]
    } == pytest.approx(spent)
    assert sum(one["share"] for one in phases.values()) == pytest.approx(1)
    rows = convsweep.load(smoke)
    assert phases["warm_up"]["messages"] == (rows["status"] == "ok").sum()
    assert phases["gate"]["messages"] >= 2 * phases["warm_up"]["messages"]
    assert phases["other"]["messages"] is phases["networks"]["messages"] is None
    if Path("/proc/self/stat").exists():
        assert phases["start"]["page_faults"] > 0


def test_a_run_writes_four_files(smoke: Path) -> None:
    assert sorted(path.name for path in smoke.iterdir()) == [
        "environment.json",
        "measurements.csv",
        "samples.csv.gz",
        "summary.csv",
    ]
    summary = pd.read_csv(smoke / "summary.csv")
    assert list(summary.columns) == list(SUMMARY_COLUMNS)
    asked, ceilings, _ = split(summary)
    assert len(asked) == SMOKE_CASES
    assert set(asked.loc[asked["backend"] == "torch_conv", "verdict"]) == {"baseline"}
    assert asked.loc[asked["status"] == "ok", "roofline_fraction"].gt(0).all()
    assert ceilings["flops_per_s"].gt(0).all()


def test_a_second_run_does_not_use_the_same_folder(smoke: Path, command: Command) -> None:
    before = (smoke / "measurements.csv").read_bytes()
    result = command("run", "--grid", "smoke", "--out", smoke)
    assert result.code == 2
    assert (smoke / "measurements.csv").read_bytes() == before


def test_a_report_is_made_from_the_csv_alone(smoke: Path, command: Command, tmp_path: Path) -> None:
    result = command("report", smoke, "--out", tmp_path / "report")
    assert result.code == 0
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000
    assert (tmp_path / "report" / "report.md").is_file()


def test_check_passes_every_backend(command: Command) -> None:
    result = command("check", "--grid", "smoke")
    assert result.code == 0
    assert f"{SMOKE_CASES} cases, 0 mismatches" in result.out


def test_a_report_removes_only_its_own_figures(
    smoke: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convsweep.report.pages.pngs", lambda figures: [b"" for _ in figures])
    out = tmp_path / "report"
    assert command("report", smoke, "--out", out).code == 0
    mine, older = out / "figures" / "mine.png", out / "figures" / "speedup_of_old.png"
    mine.touch()
    older.touch()
    with (out / "report.md").open("a", encoding="utf-8") as page:
        page.write("![an older figure](figures/speedup_of_old.png)\n")
    assert command("report", smoke, "--out", out).code == 0
    assert mine.exists()
    assert not older.exists()
    project = tmp_path / "project" / "figures"
    project.mkdir(parents=True)
    (project / "mine.png").touch()
    assert command("report", smoke, "--out", project.parent).code == 2
    assert [path.name for path in project.iterdir()] == ["mine.png"]
