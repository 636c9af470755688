"""Registry: backends of this package and of others, and failures that affect one backend only."""

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import convsweep
from convsweep import Backend, ConvProblem
from convsweep.backends import registry, strategies
from convsweep.cli import info
from tests.support import faulty_backends as outside

PROBLEM = ConvProblem(4, 4, (6, 6), 3)


@pytest.fixture
def with_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Backend]]:
    monkeypatch.syspath_prepend(str(outside.install(tmp_path)))
    registry.list_backends.cache_clear()
    yield convsweep.list_backends()
    registry.list_backends.cache_clear()


def test_an_outside_backend_is_found_with_its_distributions_version(
    with_outside: dict[str, Backend],
) -> None:
    assert with_outside["outside_good"].version == "2.5"
    assert with_outside["outside_good"].unsupported(PROBLEM) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "outside_broken",
            "ModuleNotFoundError: No module named 'a_library_that_is_not_installed'",
        ),
        ("outside_missing", "AttributeError"),
        ("outside_string", "is a str, not a convsweep.Backend"),
        ("torch_conv@convsweep_outside:TAKEN", "belongs to another backend"),
    ],
)
def test_one_that_cannot_be_had_says_why_for_every_problem(
    with_outside: dict[str, Backend], name: str, words: str
) -> None:
    assert words in str(with_outside[name].unsupported(PROBLEM))


def test_no_outside_backend_takes_a_built_in_ones_place(with_outside: dict[str, Backend]) -> None:
    assert with_outside["torch_conv"].source.startswith("torch.nn.functional")


def test_every_strategy_file_exports_one_backend_or_several() -> None:
    exported = set()
    for file in pkgutil.iter_modules(strategies.__path__):
        module = import_module(f"{strategies.__name__}.{file.name}")
        backends = getattr(module, "BACKENDS", None) or (module.BACKEND,)
        assert all(isinstance(backend, Backend) for backend in backends)
        exported |= {backend.name for backend in backends}
    assert len(exported) >= 30
    assert exported == {*convsweep.list_backends()}


def test_built_in_backends_are_sorted_and_have_a_version_and_a_source() -> None:
    backends = convsweep.list_backends()
    assert [*backends] == sorted(backends)
    assert all(backend.version and backend.source for backend in backends.values())


def test_the_group_of_entry_points_is_public() -> None:
    assert registry.ENTRY_POINT_GROUP == "convsweep.backends"


def test_one_file_adds_backends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "from convsweep import Backend\nBACKENDS = Backend('one', print), Backend('two', print)"
    (tmp_path / "a_pair.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(strategies, "__path__", [*strategies.__path__, str(tmp_path)])
    registry.built_in.cache_clear()
    try:
        assert {"one", "two"} <= {*registry.built_in()}
    finally:
        registry.built_in.cache_clear()


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        (Backend("b", None, device_types=("cuda",)), "runs on cuda, not on cpu"),
        (Backend("b", None, dtypes=("float16",)), "computes in float16, not in float32"),
        (Backend("b", None, needs_factors=True), "--weight-kind separable"),
        (Backend("b", None, unsupported=lambda problem: "not today"), "not today"),
    ],
)
def test_every_skip_has_its_reason(backend: Backend, words: str) -> None:
    reason = registry.skip_reason(
        backend, PROBLEM, weight_kind="dense", device="cpu", dtype="float32"
    )
    assert words in str(reason)


@pytest.mark.parametrize(
    ("backend", "needs"),
    [
        (Backend("b", None), ""),
        (Backend("b", None, device_types=("cuda",)), "cuda"),
        (Backend("b", None, modules=("torch",), extra="e"), "extra e"),
        (
            Backend("b", None, modules=("torch", "nowhere_at_all")),
            "torch and nowhere_at_all (not installed)",
        ),
        (
            Backend(
                "b", None, modules=("nowhere_at_all",), extra="e", device_types=("cuda", "xpu")
            ),
            "cuda or xpu, extra e (not installed)",
        ),
    ],
)
def test_a_backend_is_listed_with_what_it_needs(backend: Backend, needs: str) -> None:
    assert info._needs(backend) == needs


@pytest.mark.parametrize(
    "wrong",
    [
        *({"name": name} for name in ("[/]", "[red]x", "", "a b", "\x1b[31m", "é", "x" * 99, 3)),
        *({"name": name} for name in ("all", "kernels", "matmul")),
        *({"prepare": None}, {"version": 3}, {"device_types": "cpu"}, {"modules": None}),
        *({"family": "[/]"}, {"compile_s": float("nan")}, {"direct": "no"}),
    ],
)
def test_a_backend_with_a_wrong_field_is_refused_by_its_entry_points_name(
    wrong: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Backend(**{"name": "good", "prepare": print} | wrong)
    monkeypatch.setattr(outside, "BACKENDS", (Backend("good", print), backend), raising=False)
    point = EntryPoint("[red]plug\x1b", f"{outside.__name__}:BACKENDS", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    registry.list_backends.cache_clear()
    try:
        *_, (good, _), (name, refused) = convsweep.list_backends().items()
    finally:
        registry.list_backends.cache_clear()
    assert good == "good"
    assert name == "_red_plug_:1"
    reason = str(refused.unsupported(PROBLEM))
    assert outside.__name__ in reason
    assert reason.isprintable()


@pytest.mark.parametrize(
    "wrong",
    [
        *({"macs": lambda problem: "many"}, {"macs": lambda problem: -1}),
        *({"min_bytes": lambda problem, size: 0.5}, {"error_bound": lambda problem: float("inf")}),
        *({"unsupported": lambda problem: 1 / 0}, {"unsupported": lambda problem: "a\n\x1b"}),
        *({"modules": ("[/]",)}, {"modules": ("nowhere.at_all",)}, {"modules": ("",)}),
    ],
)
def test_a_backend_with_a_wrong_answer_is_skipped(wrong: dict[str, object]) -> None:
    reason = registry.skip_reason(
        Backend("b", print, **wrong), PROBLEM, weight_kind="dense", device="cpu", dtype="float32"
    )
    assert reason
    assert reason.isprintable()
