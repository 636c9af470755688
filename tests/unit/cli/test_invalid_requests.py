"""Requests on the command line that are refused: one line, and nothing written."""

import shlex
from pathlib import Path

import pytest

from tests.support.typed_commands import typing_into

COLUMNS = (
    "batch_size,in_channels,height,width,out_channels,kernel_h,kernel_w,stride_h,stride_w,"
    "pad_h,pad_w,dilation_h,dilation_w,groups,bias\n"
)


FILES = {
    "binary.csv": b"\x7fELF\x00\xff\xfe",
    "no_column.csv": COLUMNS.replace("groups,", "").encode(),
    "groups.csv": (COLUMNS + "1,8,9,9,8,3,3,1,1,1,1,1,1,3,0\n").encode(),
    "kernel.csv": (COLUMNS + "1,8,2,2,8,7,7,1,1,0,0,1,1,1,0\n").encode(),
    "words.csv": (COLUMNS + "1,eight,9,9,8,3,3,1,1,1,1,1,1,1,0\n").encode(),
    "negative.csv": (COLUMNS + "1,-8,9,9,8,3,3,1,1,1,1,1,1,1,0\n").encode(),
    "empty.csv": b"",
    "shapes.txt": b"# a batch file\nmb1_ic8oc8_ih9kh3ph1\nmb1_ic8oc8_ih9kx3\n",
    "good.csv": (COLUMNS + "1,4,9,9,8,3,3,1,1,1,1,1,1,1,1\n").encode(),
}


BAD = {
    "run --grid nope": ["'nope'", "smoke"],
    "run --workload resnet19": ["'resnet19'", "resnet18"],
    "run --backend conv9": ["'conv9'", "torch_conv"],
    "run --device tpu": ["'tpu'", "cpu"],
    "run --device cuda:77": ["'cuda:77'", "cpu"],
    "run --dtype int8": ["'int8'", "float32"],
    "run --memory-format nchw": ["'nchw'", "channels_last"],
    "run --weight-kind sparse": ["'sparse'", "dense"],
    "run --baseline nope": ["'nope'", "torch_conv"],
    "run --backend im2col --baseline torch_conv": ["'torch_conv'", "im2col"],
    "run --axis channels=3": ["'channels=3'", "in_channels"],
    "run --axis in_channels": ["'in_channels'", "NAME=VALUES"],
    "run --axis in_channels=": ["in_channels=", "whole numbers"],
    "run --axis in_channels=many": ["'many'", "whole numbers"],
    "run --axis in_channels=0": ["'0'", "from 1 to"],
    "run --axis in_channels=-4": ["'-4'", "from 1 to"],
    "run --axis in_channels=64:8:*2": ["64:8:*2", "empty range"],
    "run --axis size=8:64:+0": ["8:64:+0", "empty range"],
    "run --axis in_channels=8 --axis groups=3": ["groups=3", "in_channels=8"],
    "run --axis size=2 --axis kernel_size=7 --axis padding=0": ["7x7", "2x2"],
    "run --axis size=1:9999999:+1": ["10000"],
    "run --grid smoke --axis size=8": ["--grid and --axis"],
    "run --passes 0": ["0", "from 1 to"],
    "run --passes few": ["'few'"],
    "run --passes 99999999999999999999": ["99999999999999999999", "1000"],
    "run --axis size=999999999": ["999999999", "largest allowed"],
    "run --axis size=9999999 --axis in_channels=9999999": ["2**63"],
    "run --axis size=8 --out ''": ["--out", "empty"],
    "run --problems ''": ["--problems", "empty"],
    "report full --out full": ["'full'"],
    "run --threads 0": ["0", "1 to"],
    "run --threads 100000": ["100000", "1 to"],
    "optimize torchvision:resnet18 --input 1,3,8,8 --threads 0": ["--threads 0", "1 to"],
    "run --case-timeout soon": ["'soon'", "10s"],
    "run --case-timeout 0s": ["'0s'", "10s"],
    "run --case-timeout -3s": ["-3s", "10s"],
    "run --grid smoke --budget 2s": ["--budget of 2 s", "3 s or more"],
    "noise --budget 1s": ["--budget of 1 s", "3 s or more"],
    "run --grid full --budget 9s": ["--budget of 9 s", "one pass"],
    "run --fast": ["--fast"],
    "run --problems missing.csv": ["missing.csv"],
    "run --problems .": ["'.'"],
    "run --problems binary.csv": ["binary.csv", "CSV"],
    "run --problems no_column.csv": ["'groups'"],
    "run --problems groups.csv": ["line 2", "groups=3"],
    "run --problems kernel.csv": ["line 2", "7x7"],
    "run --problems words.csv": ["in_channels='eight'"],
    "run --problems negative.csv": ["in_channels='-8'"],
    "run --problems empty.csv": ["batch_size"],
    "run --problems shapes.txt": ["line 3", "'kx3'"],
    "show full": ["CASE"],
    "show nowhere 1": ["'nowhere'"],
    "run --grid smoke --out good.csv": ["good.csv"],
    "run --grid smoke --out good.csv/below": ["good.csv"],
    "run --grid smoke --out full": ["'full'"],
    "run --grid smoke --ray local --profile-overhead": ["--profile-overhead", "--ray 'local'"],
    "run --grid smoke --shard 3/2": ["--shard 3/2", "such as 2/3"],
    "run --grid smoke --shard x": ["--shard x", "such as 2/3"],
    "run --grid smoke --shard 1/9": ["--shard 1/9", "4 problems"],
    "check --grid smoke --shard 1/2": ["--shard"],
    "merge full --out new": ["two runs or more"],
    "merge full nowhere --out new": ["'full'", "measurements.csv"],
    "merge full nowhere --out full": ["'full'", "another run"],
    "check --grid nope": ["'nope'", "smoke"],
    "report nowhere": ["nowhere"],
    "report full": ["'full'", "measurements.csv"],
    "list planets": ["'planets'", "backends"],
    "fly": ["fly"],
}


@pytest.mark.parametrize("words", BAD)
def test_an_invalid_request_is_one_line_and_writes_nothing(
    words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    before = sorted(tmp_path.rglob("*"))
    result = typing_into(capsys, monkeypatch)(*shlex.split(words))
    assert result.code == 2
    assert result.out == ""
    assert result.err.count("\n") == 1
    assert result.err.startswith("convsweep: ")
    for word in BAD[words]:
        assert word in result.err
    assert sorted(tmp_path.rglob("*")) == before
