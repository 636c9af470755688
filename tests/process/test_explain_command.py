"""`convsweep explain`: table, files, and errors in one line."""

from pathlib import Path

import pandas as pd
import pytest

from convsweep.results.call_parts import FIXED, PARTS, UNATTRIBUTED, WHOLE
from tests.support import hand_written_model
from tests.support.typed_commands import Command, typing_into

LABEL = "n1_ci4_co8_i9x9_k3x3_s1x1_p1x1_d1x1_g1_b0"
MODEL = f"{hand_written_model.__file__}:every_kind"


@pytest.fixture
def explain(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Run the command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    return typing_into(capsys, monkeypatch, "explain")


def test_parts_in_table_csv_and_figure(explain: Command, tmp_path: Path) -> None:
    backends = ("torch_conv", "im2col", "pointwise")
    words = [word for name in backends for word in ("--backend", name)]
    settings = ("--passes", "2", "--out", "parts")
    result = explain("--problem", LABEL, *words, *settings)
    assert (result.code, sorted(p.name for p in Path("parts").iterdir())) == (
        0,
        ["call_parts.csv", "call_parts.png"],
    )
    table = pd.read_csv("parts/call_parts.csv")
    assert [*table["backend"].unique()] == [*backends]
    assert {*pd.read_csv("parts/call_parts.csv", dtype=str)["passes"].dropna()} == {"2"}
    for backend in backends[:2]:
        parts = table[table["backend"] == backend].set_index("part")["seconds"]
        assert parts.drop(WHOLE).sum() == pytest.approx(parts[WHOLE], abs=1e-12)
        assert {UNATTRIBUTED, FIXED} <= {*parts.index}
        assert all(f"  {name} " in result.out for name in parts.index if name != WHOLE)
    assert {*table.loc[table["backend"] == "torch_conv", "part"]} <= {*PARTS, WHOLE}
    assert {"pad", "gather", "product"} <= {*table["part"].dropna()}
    (skipped,) = table[table["status"] == "skipped"].to_dict("records")
    assert skipped["backend"] == "pointwise"
    assert skipped["reason"] in result.out


def test_a_layer_of_a_model(explain: Command) -> None:
    words = ("--model", MODEL, "--input", "1,3,16,16", "--backend", "torch_conv", "--passes", "1")
    result = explain(*words, "--layer", "branch.0")
    assert result.code == 0
    assert "n1_ci8_co8_i16x16_k3x3_s1x1_p1x1_d1x1_g4_b1" in result.out
    assert not [*Path().iterdir()]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((), "--problem"),
        (("--problem", LABEL, "--problem", LABEL.replace("ci4", "ci5")), "not 2"),
        (("--problem", LABEL, "--axis", "size=7"), "--problem"),
        (("--problem", "C64"), "'C64'"),
        (("--problem", LABEL, "--backend", "nosuch"), "'nosuch'"),
        (("--problem", LABEL, "--backend", "pointwise"), "needs kernel_size 1"),
        (("--problem", LABEL, "--cache", "cold"), "'cold'"),
        (("--problem", LABEL, "--passes", "0"), "--passes 0"),
        (("--problem", LABEL, "--threads", "999"), "--threads 999"),
        (("--problem", LABEL, "--layer", "conv1"), "'conv1'"),
        (("--problem", LABEL, "--input", "1,3,8,8"), "--input"),
        (("--problem", LABEL, "--out", hand_written_model.__file__), "is a file"),
        (("--problem", LABEL, "--out", "/proc/parts"), "/proc"),
        (("--axis", "size=7,14"), "2"),
        (("--workload", "vgg16"), "--layer"),
        (("--workload", "vgg16", "--layer", "nosuch"), "'nosuch'"),
        (("--model", MODEL), "--input"),
        (("--model", MODEL, "--input", "1,3,16,16"), "--layer"),
        (("--model", MODEL, "--input", "1,3,16,16", "--layer", "nosuch"), "branch.2"),
    ],
)
def test_a_wrong_request_is_one_line(explain: Command, words: tuple[str, ...], named: str) -> None:
    result = explain(*words)
    assert (result.code, result.out) == (2, "")
    assert named in result.err
    assert len(result.err.splitlines()) == 1
    assert not [*Path().iterdir()]
