"""Engines: layouts, threads, lifetime of outputs, and side effects."""

import functools
import gc
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import convsweep
from convsweep import Backend, ConvProblem
from convsweep.backends.base import Conv
from convsweep.backends.engines import cudnn
from convsweep.backends.registry import missing_package
from convsweep.backends.tensor_layout import CONV_BY_RANK
from convsweep.measure.checks import check, output
from convsweep.measure.inputs import Inputs, make_inputs
from convsweep.measure.reference import compute_reference
from convsweep.measure.trace import trace
from convsweep.system.devices import find_device
from tests.support.kernel_checks import threads_are_independent, wrong_inputs

ENGINES = [
    backend
    for backend in convsweep.list_backends().values()
    if backend.family == "engines"
    and "cpu" in (backend.device_types or ())
    and not missing_package(backend)
]
LAYER = ConvProblem(6, 10, (9, 7), 3, padding=1, bias=True)
BATCH = ConvProblem(6, 10, (9, 7), 3, batch_size=3, padding=1, bias=True)
UNEVEN = ConvProblem(6, 10, (9, 7), (2, 3), padding=(0, 1), padding_end=(1, 2), bias=True)
TRANSPOSED = ConvProblem(6, 10, (5, 4), 3, stride=2, output_padding=1, transposed=True)

every_engine = pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as all that ask for JAX here: a process's first one decides for it
    with torch.no_grad():
        yield
    torch.set_num_threads(threads)


def weight_kind(engine: Backend) -> str:
    return "separable" if engine.needs_factors else "dense"


@functools.cache
def prepared(engine: Backend) -> tuple[Conv, Inputs]:
    """Return the function of an engine for BATCH, which some compile for seconds; inputs.

    The first test that asks for it checks what the engine does while it prepares.
    """
    inputs = make_inputs(BATCH, weight_kind=weight_kind(engine))
    return engine.prepare(BATCH, inputs.weights), inputs


@every_engine
def test_an_engine_is_quiet_and_leaves_no_process(
    engine: Backend, capfd: pytest.CaptureFixture[str]
) -> None:
    import psutil

    before = psutil.Process().children()
    conv, inputs = prepared(engine)
    target = output(compute_reference(BATCH, inputs), engine.error_bound(BATCH))
    assert check(conv, inputs, target).reason is None
    assert tuple(capfd.readouterr()) == ("", "")
    assert set(psutil.Process().children()) <= set(before)


@every_engine
def test_one_preparation_serves_every_layout(engine: Backend) -> None:
    conv, inputs = prepared(engine)
    x = inputs.x
    rows = x.contiguous(memory_format=torch.channels_last)
    neither = x.transpose(2, 3).contiguous().transpose(2, 3)
    planes = conv(x)
    assert planes.is_contiguous()
    assert conv(rows).is_contiguous(memory_format=torch.channels_last)
    assert not neither.is_contiguous()
    for y in (conv(rows), conv(neither)):
        assert torch.allclose(y, planes, atol=1e-5)


@every_engine
def test_both_kinds_of_problems_are_right_or_skipped(engine: Backend) -> None:
    slow = engine.compiles_per_problem and engine.transposed
    for problem in [TRANSPOSED] if slow else [UNEVEN, TRANSPOSED]:
        if engine.unsupported(problem) is None:
            inputs = make_inputs(problem, weight_kind=weight_kind(engine))
            conv, bound = engine.prepare(problem, inputs.weights), engine.error_bound(problem)
            reference = compute_reference(problem, inputs)
            assert check(conv, inputs, output(reference, bound)).reason is None
    assert engine.unsupported(UNEVEN) is None


@every_engine
def test_threads_of_python_do_not_meet(engine: Backend) -> None:
    assert threads_are_independent(*prepared(engine))


@every_engine
def test_inputs_not_prepared_for_are_refused(engine: Backend) -> None:
    conv, inputs = prepared(engine)
    for x in wrong_inputs(inputs.x):
        with pytest.raises(ValueError, match=r"^x must be \(3, .*\) in torch.float32.*not .*$"):
            conv(x)


@pytest.mark.parametrize("name", ["jax", "ncnn", "onnxruntime", "openvino"])
def test_an_output_outlives_its_engine(name: str) -> None:
    engine = convsweep.list_backends()[name]
    if engine not in ENGINES:
        pytest.skip(f"{name} is not installed")
    inputs = make_inputs(LAYER, weight_kind=weight_kind(engine))
    expected = compute_reference(LAYER, inputs).y
    conv = engine.prepare(LAYER, inputs.weights)
    outputs = [conv(inputs.x) for _ in range(3)]
    del conv
    gc.collect()
    assert all(torch.allclose(y.double(), expected, atol=1e-4) for y in outputs)


@given(st.data())
@settings(max_examples=40)
def test_ncnn_takes_planes_of_any_size(data: st.DataObject) -> None:
    """Groups of three channels, whose planes ncnn reads beyond their ends unless aligned."""
    groups, outputs = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 9))
    size, kernel_size = (
        data.draw(st.tuples(st.integers(least, most), st.integers(least, most)))
        for least, most in ((5, 12), (1, 5))
    )
    problem = ConvProblem(3 * groups, outputs * groups, size, kernel_size, groups=groups)
    backend = convsweep.list_backends()["ncnn"]
    if missing_package(backend):
        pytest.skip("ncnn is not installed")
    inputs = make_inputs(problem)
    y = backend.prepare(problem, inputs.weights)(inputs.x)
    assert torch.allclose(y.double(), compute_reference(problem, inputs).y, atol=1e-4)


def test_openvino_sends_no_word_and_leaves_no_file(tmp_path: Path) -> None:
    if missing_package(convsweep.list_backends()["openvino"]):
        pytest.skip("openvino is not installed")
    script = """
import os, sys
os.register_at_fork(before=lambda: sys.exit("forks, as its telemetry does"))
from convsweep import ConvProblem, list_backends
from convsweep.measure.inputs import make_inputs
problem = ConvProblem(3, 4, (8, 8), 3)
list_backends()["openvino"].prepare(problem, make_inputs(problem).weights)
print("openvino_telemetry" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    reason = convsweep.list_backends()["torch_compile"].unsupported(LAYER)
    assert reason == "needs a C++ compiler: no-such-compiler is not found"


def test_jax_says_so_where_its_pool_can_not_have_the_threads() -> None:
    jax = convsweep.list_backends()["jax"]
    if missing_package(jax):
        pytest.skip("jax is not installed")
    inputs, threads = make_inputs(LAYER), torch.get_num_threads()
    jax.prepare(LAYER, inputs.weights)
    torch.set_num_threads(threads + 1)
    try:
        with pytest.raises(RuntimeError, match=f"{threads} threads .* not {threads + 1}"):
            jax.prepare(LAYER, inputs.weights)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize(
    ("name", "groups"), [("torch_prepacked", 1), ("torch_prepacked", 32), ("torch_compile", 1)]
)
def test_no_call_reorders_weights(
    name: str, groups: int, memory_format: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if not torch._C._has_mkldnn:
        pytest.skip("torch comes without oneDNN")
    problem = ConvProblem(32, 32, (28, 28), 3, padding=1, groups=groups)
    inputs = make_inputs(problem, memory_format=memory_format)
    conv = convsweep.list_backends()[name].prepare(problem, inputs.weights)
    conv(inputs.x)
    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        conv(inputs.x)
    lines = capfd.readouterr().out.splitlines()
    reordered = [line.split(",")[-2] for line in lines if ",exec,cpu,reorder," in line]
    assert any(",exec,cpu,convolution," in line for line in lines)
    assert set(reordered) <= {"1x32x28x28"}


@pytest.mark.parametrize(
    ("name", "tuned", "tf32"), [("cudnn_benchmark", True, False), ("torch_conv_tf32", False, True)]
)
def test_settings_of_cudnn_hold_within_the_call_alone(
    name: str, tuned: bool, tf32: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = torch.backends.cudnn
    seen = []

    def convolve(x: Tensor, **given: object) -> Tensor:
        seen.append((settings.benchmark, settings.allow_tf32))
        return x

    monkeypatch.setitem(CONV_BY_RANK, 2, convolve)
    inputs = make_inputs(LAYER)
    before = settings.benchmark, settings.allow_tf32
    convsweep.list_backends()[name].prepare(LAYER, inputs.weights)(inputs.x)
    assert seen == [(tuned, tf32)]
    assert (settings.benchmark, settings.allow_tf32) == before


def test_settings_of_cudnn_are_put_back_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = torch.backends.cudnn

    def fail(x: Tensor, **given: object) -> Tensor:
        raise RuntimeError("out of memory")

    monkeypatch.setitem(CONV_BY_RANK, 2, fail)
    inputs = make_inputs(LAYER)
    before = settings.benchmark, settings.allow_tf32
    conv: Callable[[Tensor], Tensor] = cudnn.convolution(LAYER, inputs.weights, benchmark=True)
    with pytest.raises(RuntimeError, match="out of memory"):
        conv(inputs.x)
    assert (settings.benchmark, settings.allow_tf32) == before


@every_engine
def test_an_engine_tells_or_shows_what_it_runs(
    engine: Backend, capfd: pytest.CaptureFixture[str]
) -> None:
    """There is a name in every layout, the same at every call, without addresses."""
    conv, inputs = prepared(engine)
    rows = inputs.x.contiguous(memory_format=torch.channels_last)
    for x in (inputs.x, rows):
        conv(x)
        first, second = (trace(conv, x, 1e-3, find_device("cpu")) for _ in range(2))
        assert (first.name, first.reorders, first.reason) == (second.name, second.reorders, "")
        assert not re.search(r"0x|[0-9a-f]{8}|\n", first.name), first.name
    if engine.name in ("torch_prepacked", "separable_prepacked"):
        assert second.reorders == 0
    if measured := getattr(conv, "measured", None):
        timed = measured(inputs.x)
        assert timed.name == conv.implementation(inputs.x).name  # type: ignore[attr-defined]
        assert timed.kernel_s is None or timed.kernel_s > 0
    assert tuple(capfd.readouterr()) == ("", "")
