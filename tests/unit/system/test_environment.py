"""Names and paths that fail silently if a module moves: fork server, commit, data files."""

import os
import subprocess
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import pytest
from jinja2 import PackageLoader

import convsweep
from convsweep.problems.workloads import workloads
from convsweep.system import environment, forkserver

ROOT = Path(convsweep.__file__).parent


def test_the_fork_server_preloads_modules_that_exist() -> None:
    assert None not in map(find_spec, forkserver.PRELOAD)


def repository(folder: Path) -> Path:
    """A repository whose package has two subpackages, all committed."""
    package = folder / "convsweep"
    for name in ("system", "report"):
        (package / name).mkdir(parents=True)
        (package / name / "module.py").write_text("", encoding="utf-8")
    own = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for words in (["init", "-q"], ["add", "."], [*own, "commit", "-qm", "all"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    return package


def test_a_change_in_any_package_makes_the_commit_dirty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Path(str(files("convsweep"))) == ROOT
    package = repository(tmp_path)
    monkeypatch.setattr(environment, "files", {"convsweep": package}.__getitem__)
    assert not str(environment._commit()).endswith("-dirty")
    (package / "report" / "module.py").write_text("x = 1", encoding="utf-8")
    assert str(environment._commit()).endswith("-dirty")


def test_outside_a_repository_there_is_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "files", {"convsweep": tmp_path}.__getitem__)
    assert environment._commit() is None


def test_variables_that_choose_code_are_part_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in {*os.environ} - {"PATH", "HOME"}:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # a setting of its own
    plain = environment.describe({})
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    monkeypatch.setenv("CONVSWEEP_LANES", "16")
    changed = environment.describe({})
    assert "variables" not in plain
    assert changed["variables"] == {"CONVSWEEP_LANES": "16", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    assert changed["environment_id"] != plain["environment_id"]


def test_workloads_and_templates_are_found() -> None:
    assert {"convbench_sample", "mobilenetv2_100"} <= {*workloads()}
    assert PackageLoader("convsweep.report").list_templates()
