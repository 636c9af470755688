"""Commands in an empty folder: exit codes, files, and errors in one line."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

import convsweep
from convsweep import cli
from convsweep.analysis.cases import split
from convsweep.analysis.summary import SUMMARY_COLUMNS
from convsweep.problems.grids import GRIDS
from convsweep.results.store import read_environment


class Result(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Result]

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

    def run(*words: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["convsweep", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main(list(map(str, words)))
        return Result(int(ended.value.code or 0), *capsys.readouterr())

    return run


COLUMNS = (
    "batch_size,in_channels,height,width,out_channels,kernel_h,kernel_w,stride_h,stride_w,"
    "pad_h,pad_w,dilation_h,dilation_w,groups,bias\n"
)
FILES = {
    "binary.csv": b"\x7fELF\x00\xff\xfe",
    "no_column.csv": COLUMNS.replace("groups,", "").encode(),
    "groups.csv": (COLUMNS + "1,8,9,9,8,3,3,1,1,1,1,1,1,3,0\n").encode(),
    "kernel.csv": (COLUMNS + "1,8,2,2,8,7,7,1,1,0,0,1,1,1,0\n").encode(),
    "words.csv": (COLUMNS + "1,eight,9,9,8,3,3,1,1,1,1,1,1,1,0\n").encode(),
    "negative.csv": (COLUMNS + "1,-8,9,9,8,3,3,1,1,1,1,1,1,1,0\n").encode(),
    "empty.csv": b"",
    "shapes.txt": b"# a batch file\nmb1_ic8oc8_ih9kh3ph1\nmb1_ic8oc8_ih9kx3\n",
    "good.csv": (COLUMNS + "1,4,9,9,8,3,3,1,1,1,1,1,1,1,1\n").encode(),
}

BAD = {
    "run --grid nope": ["'nope'", "smoke"],
    "run --workload resnet19": ["'resnet19'", "resnet18"],
    "run --backend conv9": ["'conv9'", "torch_conv"],
    "run --device tpu": ["'tpu'", "cpu"],
    "run --device cuda:77": ["'cuda:77'", "cpu"],
    "run --dtype int8": ["'int8'", "float32"],
    "run --memory-format nchw": ["'nchw'", "channels_last"],
    "run --weight-kind sparse": ["'sparse'", "dense"],
    "run --baseline nope": ["'nope'", "torch_conv"],
    "run --backend im2col --baseline torch_conv": ["'torch_conv'", "im2col"],
    "run --axis channels=3": ["'channels=3'", "in_channels"],
    "run --axis in_channels": ["'in_channels'", "NAME=VALUES"],
    "run --axis in_channels=": ["in_channels=", "whole numbers"],
    "run --axis in_channels=many": ["'many'", "whole numbers"],
    "run --axis in_channels=0": ["'0'", "at least 1"],
    "run --axis in_channels=-4": ["'-4'", "at least 1"],
    "run --axis in_channels=64:8:*2": ["64:8:*2", "empty range"],
    "run --axis size=8:64:+0": ["8:64:+0", "empty range"],
    "run --axis in_channels=8 --axis groups=3": ["groups=3", "in_channels=8"],
    "run --axis size=2 --axis kernel_size=7 --axis padding=0": ["7x7", "2x2"],
    "run --axis size=1:9999999:+1": ["10000"],
    "run --grid smoke --axis size=8": ["--grid and --axis"],
    "run --passes 0": ["0", "from 1 to"],
    "run --passes few": ["'few'"],
    "run --passes 99999999999999999999": ["99999999999999999999", "1000"],
    "run --axis size=999999999": ["999999999", "largest allowed"],
    "run --axis size=9999999 --axis in_channels=9999999": ["2**63"],
    "run --axis size=8 --out ''": ["--out", "empty"],
    "run --problems ''": ["--problems", "empty"],
    "report full --out full": ["'full'"],
    "run --threads 0": ["0", "1 to"],
    "run --threads 100000": ["100000", "1 to"],
    "run --case-timeout soon": ["'soon'", "10s"],
    "run --case-timeout 0s": ["'0s'", "10s"],
    "run --case-timeout -3s": ["-3s", "10s"],
    "run --fast": ["--fast"],
    "run --problems missing.csv": ["missing.csv"],
    "run --problems .": ["'.'"],
    "run --problems binary.csv": ["binary.csv", "CSV"],
    "run --problems no_column.csv": ["'groups'"],
    "run --problems groups.csv": ["line 2", "groups=3"],
    "run --problems kernel.csv": ["line 2", "7x7"],
    "run --problems words.csv": ["in_channels='eight'"],
    "run --problems negative.csv": ["in_channels='-8'"],
    "run --problems empty.csv": ["batch_size"],
    "run --problems shapes.txt": ["line 3", "'kx3'"],
    "show full": ["CASE"],
    "show nowhere 1": ["'nowhere'"],
    "run --grid smoke --out good.csv": ["good.csv"],
    "run --grid smoke --out good.csv/below": ["good.csv"],
    "run --grid smoke --out full": ["'full'"],
    "run --grid smoke --ray local --profile-overhead": ["--profile-overhead", "--ray 'local'"],
    "run --grid smoke --shard 3/2": ["--shard 3/2", "such as 2/3"],
    "run --grid smoke --shard x": ["--shard x", "such as 2/3"],
    "run --grid smoke --shard 1/9": ["--shard 1/9", "4 problems"],
    "check --grid smoke --shard 1/2": ["--shard"],
    "merge full --out new": ["two runs or more"],
    "merge full nowhere --out new": ["'full'", "measurements.csv"],
    "merge full nowhere --out full": ["'full'", "another run"],
    "check --grid nope": ["'nope'", "smoke"],
    "report nowhere": ["nowhere"],
    "report full": ["'full'", "measurements.csv"],
    "list planets": ["'planets'", "backends"],
    "fly": ["fly"],
}


@pytest.mark.parametrize("words", BAD)
def test_an_invalid_request_is_one_line_and_writes_nothing(
    words: str, command: Command, tmp_path: Path
) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    before = sorted(tmp_path.rglob("*"))
    result = command(*shlex.split(words))
    assert result.code == 2
    assert result.out == ""
    assert result.err.count("\n") == 1
    assert result.err.startswith("convsweep: ")
    for word in BAD[words]:
        assert word in result.err
    assert sorted(tmp_path.rglob("*")) == before


def loaded_by(*words: str | Path) -> list[str]:
    """The heavy packages that a command imports."""
    code = (
        "import sys; from convsweep.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = ('torch', 'pandas', 'matplotlib', 'scipy', 'bokeh')\n"
        "print('loaded', *(name for name in heavy if name in sys.modules))"
    )
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize(
    "words", ["--help", "list backends", "list grids", "list workloads", "run --dry-run"]
)
def test_what_measures_nothing_imports_no_heavy_package(words: str) -> None:
    assert loaded_by(*words.split()) == []


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
    monkeypatch.setattr("convsweep.report.pages.png", lambda figure: b"")
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
