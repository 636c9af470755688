"""Width of vectors that the environment asks for."""

import pytest

from convsweep.backends.kernels.width import requested_lanes
from tests.support.typed_commands import typing_into


@pytest.mark.parametrize(("value", "lanes"), [("8", 8), ("16", 16), ("", None)])
def test_the_environment_chooses_the_width(
    value: str, lanes: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVSWEEP_LANES", value)
    assert requested_lanes() == lanes


@pytest.mark.parametrize("value", ["4", "32", "-8", "8.0", "wide", "\u0668"])
def test_another_width_is_refused_in_one_line(
    value: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVSWEEP_LANES", value)
    code, out, err = typing_into(capsys, monkeypatch)("list", "grids")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert all(text in err for text in ("CONVSWEEP_LANES", value, "8, 16"))
