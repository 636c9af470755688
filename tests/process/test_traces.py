"""Runs name what they ran: oneDNN's code for another machine is found, and `compare` says so."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

COLUMNS = (
    "batch_size,in_channels,height,width,out_channels,kernel_h,kernel_w,stride_h,stride_w,"
    "pad_h,pad_w,dilation_h,dilation_w,groups,bias"
)


def convsweep(
    words: str, folder: Path, isa: str | None = None, codes: tuple[int, ...] = (0, 3)
) -> str:
    environment = {name: value for name, value in os.environ.items() if "MAX_CPU_ISA" not in name}
    if isa:
        environment["ONEDNN_MAX_CPU_ISA"] = isa
    command = [sys.executable, "-m", "convsweep", *words.split()]
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode in codes, ended.stderr
    said = ended.stdout + ended.stderr
    assert not any(word in said for word in ("onednn_verbose", "USDT"))
    return said


def test_compare_names_the_code_that_onednn_runs_for_an_older_processor(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text(f"{COLUMNS}\n1,32,24,24,32,3,3,1,1,1,1,1,1,32,0\n")
    request = "run --problems one.csv --backend torch_conv --passes 1 --no-ceilings --out"
    convsweep(f"{request} new", tmp_path)
    convsweep(f"{request} old", tmp_path, isa="SSE41")
    names = [
        pd.read_csv(tmp_path / run / "summary.csv")["implementation"].iloc[0]
        for run in ("old", "new")
    ]
    assert "conv" in names[0]
    if names[0] == names[1]:
        pytest.skip("ONEDNN_MAX_CPU_ISA changes nothing on this machine")
    refused = convsweep("compare old new", tmp_path, codes=(2,))
    assert "variables.ONEDNN_MAX_CPU_ISA: 'SSE41' against not recorded" in " ".join(refused.split())
    said = " ".join(convsweep("compare old new --across-machines", tmp_path).split())
    assert f"Implementation changed from {names[0]} to {names[1]}: 1 case" in said
