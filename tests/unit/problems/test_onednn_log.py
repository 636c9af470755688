"""Lines that oneDNN printed, of several versions and machines, are read; other lines are not."""

import pytest

from convsweep.problems.onednn_log import Primitive, parse_verbose, primitives_in

REORDER = "cpu,reorder,jit:blk,undef,src:f32::blocked:abcd::f0 dst:f32::blocked:aBcd16b::f0"
CONVOLUTION = "cpu,convolution,jit_dw:avx512_core,forward_training,src:f32:a:blocked:aBcd16b::f0"
SHAPE = "g64mb1_ic64oc64_ih56oh56kh3sh1dh0ph1_iw56ow56kw3sw1dw0pw1"
LINES = {
    f"onednn_verbose,v1,primitive,exec,{REORDER},attr-scratchpad:user,,1x64x56x56,0.0200195": (
        "reorder", "jit:blk", "1x64x56x56", 2.00195e-5,
    ),
    f"onednn_verbose,v1,primitive,exec,{CONVOLUTION} wei:f32:a:blocked:Abcde16a::f0 bia:undef::"
    "undef::: dst:f32:a:blocked:aBcd16b::f0,attr-scratchpad:user,alg:convolution_direct,"
    f"{SHAPE},0.0510254": ("convolution", "jit_dw:avx512_core", SHAPE, 5.10254e-5),
    "onednn_verbose,v1,1693533460193.346924,primitive,exec,cpu,matmul,gemm:acl,undef,"
    "src:f32::blocked:ab::f0 wei:f32::blocked:ab::f0 dst:f32::blocked:ab::f0,,,4x8:8x2,1.5": (
        "matmul", "gemm:acl", "4x8:8x2", 1.5e-3,
    ),
    "onednn_verbose,primitive,exec,cpu,convolution,brgconv:avx2,forward_inference,"
    "src_f32::blocked:acdb:f0 dst_f32::blocked:acdb:f0,,alg:convolution_direct,mb1_ic8,1e-3": (
        "convolution", "brgconv:avx2", "mb1_ic8", 1e-6,
    ),
    "onednn_verbose,v1,primitive,exec,cpu,convolution,jit:avx2,backward_data,diff_src:f32:a::f0,,"
    "alg:convolution_direct,mb1_ic8,1e-3": (
        "convolution", "jit:avx2:backward_data", "mb1_ic8", 1e-6,
    ),
    "dnnl_verbose,exec,cpu,convolution,jit:avx2,forward_inference,src_f32::blocked:aBcd8b:f0,,"
    "alg:convolution_direct,mb2_ic16oc16,0.0290527": (
        "convolution", "jit:avx2", "mb2_ic16oc16", 2.90527e-5,
    ),
}  # fmt: skip
OTHERS = (
    "",
    "onednn_verbose,v1,info,oneDNN v3.12.0 (commit 80afa71049cd69a3df32adcccb623b12cd7baa22)",
    "onednn_verbose,v1,info,cpu,isa:Intel AVX-512 with Intel DL Boost and bfloat16 support",
    "onednn_verbose,v1,primitive,info,template:operation,engine,primitive,implementation,prop_kind,"
    "memory_descriptors,attributes,auxiliary,problem_desc,exec_time",
    f"onednn_verbose,v1,primitive,create:cache_hit,{REORDER},attr-scratchpad:user,,1x64x56x56,0.02",
    f"onednn_verbose,v1,primitive,exec,{REORDER},attr-scratchpad:user,,1x64x56x56",  # cut off
    f"onednn_verbose,v2,primitive,exec,{REORDER},attr-scratchpad:user,,1x64x56x56,slow",
    "USDT:2026-11-29 16:11:22 10320:10320 SyncActivityProfilerHandler.cpp:52] profiler_start",
    "a model prints: onednn_verbose,v1,primitive,exec,cpu",
)


@pytest.mark.parametrize("line", LINES)
def test_a_line_has_the_primitive_that_ran(line: str) -> None:
    found = parse_verbose(line)
    assert found
    assert (found.kind, found.implementation, found.shape, found.seconds) == pytest.approx(
        LINES[line]
    )
    assert found.memory.removeprefix("diff_").startswith("src")


@pytest.mark.parametrize("line", OTHERS)
def test_other_lines_have_none(line: str) -> None:
    assert parse_verbose(line) is None


def test_primitives_keep_their_order_among_other_lines() -> None:
    mixed = [line for pair in zip(LINES, OTHERS, strict=False) for line in pair]
    found: list[Primitive] = primitives_in(mixed)
    assert [one.kind for one in found] == [kind for kind, *_ in LINES.values()]
