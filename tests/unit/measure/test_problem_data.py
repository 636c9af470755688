"""Files that hand inputs and reference on to later passes."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from convsweep.measure import problem_data
from convsweep.measure.gradients import outputs_of
from convsweep.measure.projection import Projection
from convsweep.measure.reference import Reference
from convsweep.problems.case import TRAINING, Case
from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import Layer
from convsweep.system.forkserver import FOLDER

LAYER = Layer(ConvProblem(4, 6, (5, 5), 3, padding=1, bias=True))


def case(dtype: str, weight_kind: str = "separable") -> Case:
    return Case(LAYER, weight_kind, "cpu", dtype, "contiguous", 1, "hot", "torch_conv")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("fast_check", [False, True])
@pytest.mark.parametrize("weight_kind", ["dense", "separable"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_data_are_read_as_they_were_computed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, weight_kind: str, fast_check: bool
) -> None:
    monkeypatch.setattr(problem_data, "is_cheap", lambda problem, dtype: True)
    computed = problem_data.compute(case(dtype, weight_kind), fast_check)
    assert isinstance(computed.references["y"], Projection if fast_check else Reference)
    file = problem_data.save(computed)
    assert file is not None
    assert file.size == sum(path.stat().st_size for path in folder.iterdir())
    read = problem_data.load(file)
    assert type(computed.references["y"]) is type(read.references["y"])
    for old, new in (
        (computed.inputs.weights, read.inputs.weights),
        (computed.references["y"], read.references["y"]),
    ):
        for name in {field.name for field in fields(old)} - {"inputs"}:
            one, other = getattr(old, name), getattr(new, name)
            if isinstance(one, torch.Tensor):
                assert torch.equal(one, other)
                assert one.dtype == other.dtype
            elif isinstance(one, tuple):
                assert all(map(torch.equal, one, other))
            else:
                assert one == other
    assert torch.equal(computed.inputs.x, read.inputs.x)


@pytest.mark.parametrize("weight_kind", ["dense", "separable"])
def test_references_of_gradients_are_read_as_they_were_computed(
    folder: Path, weight_kind: str
) -> None:
    computed = problem_data.compute(replace(case("float32", weight_kind), direction=TRAINING), True)
    file = problem_data.save(computed)
    assert file is not None
    read = problem_data.load(file)
    assert computed.inputs.grad is not None
    assert read.inputs.grad is not None
    assert torch.equal(computed.inputs.grad, read.inputs.grad)
    factored = weight_kind == "separable"
    assert {*outputs_of(TRAINING, LAYER.problem, factored)} <= {*read.references}
    for name, old in computed.references.items():
        new = read.references[name]
        assert torch.equal(old.y, new.y)
        assert (old.scale, old.factor) == (new.scale, new.factor)


def test_without_a_folder_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    assert problem_data.save(problem_data.compute(case("float32"), False)) is None


def test_a_full_disk_leaves_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(values: object, name: str) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    assert problem_data.save(problem_data.compute(case("float32"), False)) is None
    assert not list(folder.iterdir())
