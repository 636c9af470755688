"""Real clusters, each in a network namespace of its own: whole runs, faults, wrong requests."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bench.cluster.isolation import isolated, missing_isolation
from bench.cluster.slots import overlaps
from convsweep.cluster.pool import TaskResult
from convsweep.results.store import load

ROOT = Path(__file__).parents[2]
WAITING = "convsweep: waiting for"
NETWORK = "ip addr add 192.0.2.2/32 dev lo && ip route add default dev lo src 192.0.2.2"
TOKEN = "a-token-of-this-test-and-nothing-else"

pytest.importorskip("ray")
REASON = missing_isolation()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))


def run_alone(script: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """What a shell script says in a namespace; `$convsweep` is the command, `$out` a new folder."""
    variables = {
        "convsweep": f"{sys.executable} -m convsweep",
        "ray": str(Path(sys.executable).with_name("ray")),
        "out": str(tmp_path / "run"),
        "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # other tests run at the same time
        "TMPDIR": str(tmp_path),
    }
    return subprocess.run(
        isolated(["sh", "-c", script]),
        cwd=tmp_path,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=600,
    )


def error_lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Lines of standard error, without those about busy nodes."""
    return [line for line in done.stderr.splitlines() if WAITING not in line]


def program(module: str, words: list[str], out: Path) -> list[dict[str, str]]:
    """The rows that a program of the bench writes."""
    done = subprocess.run(
        [sys.executable, "-m", f"bench.cluster.{module}", *words, "--out", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    sys.stderr.write(done.stderr[-2000:])
    assert done.returncode == 0
    with (out / f"{module}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_two_nodes_measure_every_case_once_a_pass_and_leave_no_process(tmp_path: Path) -> None:
    run = "$convsweep run --grid smoke --passes 2 --no-ceilings --ray local:2 --out $out"
    done = run_alone(
        f"{NETWORK} && "  # Ray would join at this address
        f"{run} --case-timeout 60s && $convsweep report $out --out $out-report && "
        f"({run} --case-timeout 50s --resume >refused 2>&1; [ $? = 2 ]) && "
        "ps -e -o pid= | wc -l",
        tmp_path,
    )
    sys.stderr.write(done.stderr[-2000:])
    assert done.returncode == 0
    assert all(" measured" in line for line in error_lines(done))  # nothing of Ray's own
    assert int(done.stdout.split()[-1]) <= 4  # the shell and what counts: nothing of Ray
    rows = load(tmp_path / "run")
    assert rows.groupby(["problem", "backend", "pass_index"]).size().eq(1).all()
    assert len(rows) == 2 * 24
    assert set(rows["node"].dropna()) == {"local-1", "local-2"}
    assert set(rows["status"]) == {"ok", "skipped"}
    summary = pd.read_csv(tmp_path / "run" / "summary.csv")
    assert len(summary) == 24
    assert set(summary.loc[summary["status"] == "ok", "passes"]) == {2}
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["end_reason"] == "all_passes"
    assert set(environment["ray"]["nodes"].values()) == {environment["environment_id"]}
    assert (tmp_path / "run-report" / "report.html").exists()
    refused = [line for line in (tmp_path / "refused").read_text().splitlines()
               if WAITING not in line]  # fmt: skip
    assert refused == ["convsweep: can't resume: --case-timeout was 60 and is 50 now"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--ray local:0", "'local:0'"),
        ("--ray auto", "'auto'"),
        ("--ray 127.0.0.1:9", "'127.0.0.1:9'"),
        ("--ray local --grid nosuch", "'nosuch'"),
        ("--ray local --nodes kind=big", "'kind=big'"),
        ("--ray local --device cuda", "'cuda'"),
        ("--nodes kind=big", "--ray"),
    ],
)
def test_a_wrong_request_is_a_line_and_writes_nothing(
    tmp_path: Path, words: str, reason: str
) -> None:
    done = run_alone(f"$convsweep run --grid smoke {words} --out $out", tmp_path)
    assert done.returncode == 2
    (line,) = error_lines(done)
    assert reason in line
    assert done.stdout == ""
    assert not (tmp_path / "run").exists()


def test_a_running_cluster_is_joined_with_its_token_alone(tmp_path: Path) -> None:
    start = (
        "export RAY_AUTH_MODE=token; "
        f"RAY_AUTH_TOKEN={TOKEN} $ray start --head --port=6399 --node-ip-address=127.0.0.1 "
        "--include-dashboard=false --num-cpus=1 --temp-dir=$(mktemp -d -p /tmp) "
        "--resources='{\"convsweep_slot\": 1}' --labels=kind=small >/dev/null 2>&1; "
    )
    run = "$convsweep run --grid smoke --passes 1 --no-ceilings --ray 127.0.0.1:6399 --out $out"
    script = (
        f"{start} RAY_AUTH_TOKEN=another-token-than-that-of-the-cluster {run}; echo $?; "
        f"export RAY_AUTH_TOKEN={TOKEN}; {run} --nodes kind=small >/dev/null 2>&1; echo $?; "
        "$convsweep list devices --ray 127.0.0.1:6399"
    )
    done = run_alone(script, tmp_path)
    assert "RAY_AUTH_TOKEN" in done.stderr
    codes, _, listed = done.stdout.partition("\n0\n")
    assert codes == "2"
    assert "kind=small" in listed
    assert "cpu" in listed
    assert len(load(tmp_path / "run")) == 24


def test_a_node_that_dies_in_the_midst_costs_no_row(tmp_path: Path) -> None:
    (row,) = program("lost_nodes", ["--times", "1"], tmp_path)
    assert (row["missing"], row["doubled"], row["exit_code"]) == ("0", "0", "0")
    assert int(row["rows_before"]) < int(row["rows"])


def test_a_driver_that_is_killed_is_gone_on_with_and_leaves_nothing(tmp_path: Path) -> None:
    rows = program("driver_kills", ["--times", "1", "--seed", "3", "--passes", "2"], tmp_path)
    assert [row["moment_s"] == "" for row in rows] == [False, True]
    for row in rows:
        assert (row["lost"], row["doubled"], row["ray_left"]) == ("0", "0", "0")


def test_no_slot_is_taken_twice(tmp_path: Path) -> None:
    rows = program("slots", ["--tasks", "60", "--nodes", "2"], tmp_path)
    assert sum(int(row["tasks"]) for row in rows) == 60
    assert {row["overlaps"] for row in rows} == {"0"}


def test_overlaps_are_seen() -> None:
    results = [
        TaskResult("a", start, end, None) for start, end in ((2, 3), (0, 1), (0.5, 2.5), (3, 4))
    ]
    assert overlaps(results) == 2
    assert overlaps(results[:2]) == 0
