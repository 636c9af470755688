"""Requests that are refused: in one line, by name, with what is allowed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from convsweep.backends.registry import list_backends
from convsweep.problems.case import DTYPES, MEMORY_FORMATS, WEIGHT_KINDS
from convsweep.problems.grids import GRIDS
from convsweep.problems.workloads import workloads
from convsweep.sweep.request import Options, read_request
from convsweep.system.environment import usable_cores

SMOKE = Options(grid="smoke")
FIVE = ("loop", "im2col", "pointwise", "torch_conv", "separable")
ROW = "1,4,9,9,8,3,3,1,1,1,1,1,1,1,0"

pytestmark = pytest.mark.usefixtures("only_a_cpu")


def refusal(options: Options) -> str:
    """Why the request is refused, in one line."""
    with pytest.raises(ValueError, match=r".") as raised:
        read_request(options)
    message = str(raised.value)
    assert message.isprintable()
    return message


UNKNOWN = ["none-such", "", "SMOKE", "two\nlines"]


@pytest.mark.parametrize("word", UNKNOWN, ids=repr)
@pytest.mark.parametrize(
    ("option", "allowed"),
    [
        ("grid", GRIDS),
        ("workloads", workloads()),
        ("backends", list_backends()),
        ("devices", ["cpu"]),
        ("dtypes", DTYPES),
        ("memory_formats", MEMORY_FORMATS),
        ("weight_kind", WEIGHT_KINDS),
        ("baseline", FIVE),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unknown_word_is_named_and_so_are_those_allowed(
    option: str, allowed: list[str], word: str
) -> None:
    value = word if option in ("grid", "weight_kind", "baseline") else [word]
    message = refusal(Options(**{option: value}))
    assert repr(word) in message
    assert all(name in message for name in allowed)


@pytest.mark.parametrize("option", ["backends", "devices", "dtypes", "memory_formats"])
def test_one_unknown_word_among_good_ones_is_enough(option: str) -> None:
    good = {"backends": "loop", "devices": "cpu", "dtypes": "float64"}
    words = [good.get(option, "contiguous"), "wrong"]
    assert "'wrong'" in refusal(replace(SMOKE, **{option: words}))


@pytest.mark.parametrize("name", ["cuda", "cuda:99", "cpu:0", "CPU"])
def test_a_device_that_is_not_there_is_refused_and_those_that_are_are_named(name: str) -> None:
    message = refusal(replace(SMOKE, devices=["cpu", name]))
    assert repr(name) in message
    assert message.endswith("cpu")


def test_a_baseline_must_take_part() -> None:
    message = refusal(replace(SMOKE, backends=["loop", "im2col"], baseline="torch_conv"))
    assert "'torch_conv'" in message
    assert "loop, im2col" in message


@pytest.mark.parametrize("passes", [0, -1])
def test_at_least_one_pass_is_needed(passes: int) -> None:
    message = refusal(replace(SMOKE, passes=passes))
    assert f"--passes {passes} " in message
    assert "from 1 to" in message


@pytest.mark.parametrize("threads", [0, -1, usable_cores() + 1, 10**6])
def test_threads_are_one_to_the_number_of_cores(threads: int) -> None:
    message = refusal(replace(SMOKE, threads=[1, threads]))
    assert f"--threads {threads} " in message
    assert f"from 1 to {usable_cores()}" in message


BAD_TIMES = ["", "soon", "0", "0s", "0.0ms", "-1", "-5s", "1e3", "5 s", "5sec", "s", "inf", "nan"]


@pytest.mark.parametrize("text", [*BAD_TIMES, "\u0665s", "5s\n", "9" * 400, "99999h"], ids=repr)
def test_what_is_no_time_above_zero_is_refused_by_name(text: str) -> None:
    message = refusal(replace(SMOKE, case_timeout=text))
    assert repr(text) in message
    assert "10s" in message


SOURCES = {
    "--grid": {"grid": "smoke"},
    "--workload": {"workloads": ["resnet18"]},
    "--problems": {"problems": Path("layers.csv")},
    "--axis": {"axes": ["size=7"]},
    "--problem": {"labels": ["n1_ci8_co8_i9x9_k3x3_s1x1_p1x1_d1x1_g1_b0"]},
}


@pytest.mark.parametrize("one", SOURCES)
@pytest.mark.parametrize("other", SOURCES)
def test_two_sources_of_problems_exclude_each_other(one: str, other: str) -> None:
    if one != other:
        message = refusal(Options(**SOURCES[one], **SOURCES[other]))
        assert one in message
        assert other in message


@pytest.mark.parametrize(
    ("axes", "named"),
    [
        (["channels=4"], "'channels=4'"),
        (["size=0"], "'0'"),
        (["in_channels=8:4:+1"], "in_channels=8:4:+1"),
        (["size=7", "size=9"], "'size'"),
        (["in_channels=6", "groups=4"], "groups=4"),
    ],
)
def test_bad_axes_are_refused_by_name(axes: list[str], named: str) -> None:
    assert named in refusal(Options(axes=axes))


@pytest.mark.parametrize(
    ("rows", "named"),
    [([], "no problem"), ([ROW, "1,many"], "line 3"), ([ROW.replace("1", "0", 1)], "line 2")],
)
def test_a_bad_file_is_refused_by_name(
    problems_csv: Callable[..., Path], rows: list[str], named: str
) -> None:
    path = problems_csv(*rows)
    message = refusal(Options(problems=path))
    assert named in message
    assert repr(str(path)) in message


def test_reading_a_request_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    read_request(Options())
    refusal(replace(SMOKE, passes=0))
    assert list(tmp_path.iterdir()) == []
