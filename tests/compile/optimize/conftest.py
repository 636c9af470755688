"""Fixtures of the tests of `optimize`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from convsweep import Backend, ConvProblem
from convsweep.backends import registry
from convsweep.models.optimize import candidates
from convsweep.results.best_csv import write_best
from convsweep.results.schema import Row
from tests.support import synthetic_runs as made
from tests.support.folded_nets import Net, usual
from tests.support.optimized_models import (
    SHAPE,
    THREADS,
    Small,
    Tabled,
    Write,
    optimize,
    problems_of,
    table_for,
    this_environment,
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two would wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tabled(tmp_path: Path) -> Tabled:
    """Write a table of this machine."""

    def write(problems: Mapping[ConvProblem, str], **changes: object) -> Path:
        folder = tmp_path / f"table{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return write_best(folder, table_for(problems, **changes))

    return write


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a run of this machine."""

    def write(rows: list[Row], environment: dict[str, object] | None = None) -> Path:
        folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        return made.write(folder, rows, environment or this_environment())

    return write


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(1)
    return Small()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def optimized(model: nn.Module, x: Tensor, tabled: Tabled) -> nn.Module:
    return optimize(model, tabled(problems_of(model, x)), x)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Callable[[Backend], None]:
    return lambda backend: monkeypatch.setitem(registry.list_backends(), backend.name, backend)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(1)
    return Net(usual).eval()


@pytest.fixture
def folded(net: Net, x: Tensor, tabled: Tabled) -> nn.Module:
    return optimize(net, tabled(problems_of(net, x)), x)


@pytest.fixture
def fused_is_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    def times(
        models: object, asked: Iterable[Iterable[str]], *more: object
    ) -> list[dict[str, float]]:
        return [dict.fromkeys(own, 1 - 0.1 * index) for index, own in enumerate(asked)]

    monkeypatch.setattr(candidates, "layer_times", times)
