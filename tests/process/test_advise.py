"""The command `advise`: measuring, report and refusals."""

import math
from pathlib import Path

import pandas as pd
import pytest

from convsweep.results import store
from convsweep.sweep.resume import require_same
from tests.support import hand_written_model
from tests.support.typed_commands import Command, typing_into

MODELS = Path(hand_written_model.__file__)


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Type a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    return typing_into(capsys, monkeypatch)


BAD_COMMANDS = {
    "advise": ["MODEL"],
    f"advise {MODELS}:every_kind": ["--input"],
    f"advise {MODELS}:nothing --input 1,3": ["'nothing'"],
    f"advise {MODELS}:every_kind --input 1,three": ["'1,three'", "1,3,224,224"],
    f"advise {MODELS}:every_kind --input 1,4,16,16": ["1x4x16x16", "channels"],
    f"advise {MODELS}:every_kind --input 1,3,16,16 --input 1": ["1x3x16x16 and 1", "positional"],
    f"advise {MODELS}:raises --input 1,3": ["raises RuntimeError"],
    f"advise {MODELS}:returns_text --input 1,3": ["returns str"],
    f"advise {MODELS}:without --input 1,4": ["no convolution"],
    f"advise {MODELS}:every_kind --input 1,3,16,16 --device tpu": ["'tpu'"],
    f"advise {MODELS}:every_kind --input 1,3,16,16 --dtype int8": ["'int8'"],
    f"advise {MODELS}:every_kind --input 1,3,16,16 --threads 0": ["--threads 0"],
    f"advise {MODELS}:every_kind --input 1,3,16,16 --backend nope": ["'nope'"],
    f"advise {MODELS}:every_kind --input 1,3,16,16 --budget long": ["'long'"],
    f"advise {MODELS}:every_kind --input 1,3,16,16 --resume": ["--out"],
    f"advise {MODELS}:every_kind --input 1,3,16,16 --out taken": ["'taken'"],
    f"advise {MODELS}:another --input 1,4,9,9 --direction up": ["'up'", "training"],
    **{
        f"advise {MODELS}:{name} --input 1,4,9,9 --direction training": ["no gradients", "forward"]
        for name in ("untracked", "frozen", "for_inference")
    },
    f"advise {MODELS}:signal --input 1,4,16 --memory-format channels_last": ["no backend supports"],
}


@pytest.mark.parametrize("typed", BAD_COMMANDS)
def test_a_wrong_request_is_one_line_and_writes_nothing(
    typed: str, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file")
    result = command(*typed.split())
    assert (result.code, result.out) == (2, "")
    assert [part for part in BAD_COMMANDS[typed] if part not in result.err] == []
    assert result.err.startswith("convsweep: ")
    assert result.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_advice_from_the_command_line(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "convsweep.sweep.request.ceiling_cases", lambda cases, places: []
    )  # for their time
    monkeypatch.setattr("convsweep.sweep.request.MAX_PASSES", 3)  # ends long before the budget
    words_typed = ("advise", f"{MODELS}:talkative", "--input", "1,4,9,9", "--backend", "im2col")
    result = command(*words_typed, "--budget", "300s", "--out", "run")
    assert result.code == 0
    run_dir = tmp_path / "run"
    table = pd.read_csv(run_dir / store.LAYERS)
    assert list(table["layer"]) == ["0", "1 and 1 more"]
    assert list(table["layer_count"]) == [1, 2]
    assert table["baseline_s"].gt(0).all()
    assert table["predicted_speedup"].isna().to_list() == [False, True]
    assert math.isclose(table["predicted_speedup"][0], 1 / (1 / 8 + 1 / 9))
    assert {"measurements.csv", "summary.csv", "environment.json"} <= {
        path.name for path in run_dir.iterdir()
    }
    assert "hand_written_model.talkative" in result.out
    assert len(result.out.splitlines()) <= 60
    assert "this model talks" not in result.out
    again = command(*words_typed, "--budget", "1s", "--out", "run", "--resume")
    assert again.code == 0
    refused = command(*words_typed, "--dtype", "float64", "--out", "run", "--resume")
    assert (refused.code, refused.out) == (2, "")
    assert "--dtype was float32 and is float64 now" in refused.err
    for other in (("talkative", "1,4,8,8"), ("another", "1,4,9,9")):
        refused = command(
            "advise", f"{MODELS}:{other[0]}", "--input", other[1], "--out", "run", "--resume"
        )  # fmt: skip
        assert (refused.code, refused.out) == (2, "")
        assert "the model or --input differs" in refused.err


def test_other_problems_are_told_without_a_hash() -> None:
    there, here = ({"run_id": "a", "request": {"case_hash": x}} for x in ("9d14", "98da"))
    with pytest.raises(ValueError, match=r"\Acan't resume: the problems, .* differ[^\n]*\Z"):
        require_same(there, here)


def test_layers_that_fit_in_no_memory_end_with_the_reason(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "convsweep.sweep.request.ceiling_cases", lambda cases, places: []
    )  # for their time
    result = command(
        "advise", f"{MODELS}:even", "--input", "1,4,1000000,1000000", "--budget", "300s",
        "--out", "run",
    )  # fmt: skip
    assert result.code == 1
    assert "No layer has a time with torch_conv" in result.out
    assert "out_of_memory" in result.out
    assert "GiB are free" in result.out
    assert "settled" not in result.out
    assert "--budget" not in result.out


def test_a_budget_that_reaches_no_layer_is_told(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convsweep.sweep.stopping.Budget.left_s", -1.0)
    result = command("advise", f"{MODELS}:ready", "--input", "1,4,5,5", "--out", "run")
    assert (result.code, "No layer was measured" in result.out) == (1, True)
    assert pd.read_csv(tmp_path / "run" / store.LAYERS).empty
