"""Lines that other tools exchange are read as the problems they name."""

import re
from pathlib import Path

import pytest
from hypothesis import given

from convsweep.problems.problem import ConvProblem, format_size
from convsweep.problems.tool_lines import read_descriptor
from convsweep.problems.workloads import read_problems
from tests.support.strategies import conv_problems

RESNET = "n1_ci64_co64_i56x56_k3x3_s1x1_p1x1_d1x1_g1_b0"
DESCRIPTORS = {
    "mb1_ic64oc64_ih56oh56kh3sh1dh0ph1_iw56ow56kw3sw1dw0pw1": RESNET,
    'mb1ic64ih56oc64oh56kh3ph1n"resnet:res2a_branch2b"': RESNET,
    'g1mb1_ic3ih224iw224_oc64oh112ow112_kh7kw7_sh2sw2_ph3pw3_n"resnet18_0"': (
        "n1_ci3_co64_i224x224_k7x7_s2x2_p3x3_d1x1_g1_b0"
    ),
    "g64mb1_ic64oc64_ih56oh56kh3sh1dh0ph1_iw56ow56kw3sw1dw0pw1": RESNET.replace("g1", "g64"),
    'ic64ih56oc64oh56kh3ph1n"a name*2"': RESNET.replace("n1", "n2"),
    'mb2_ic32oc32_iw79ow75kw5sw1pw0_ih41oh16kh10sh2ph0n"ds2-swap"': (
        "n2_ci32_co32_i41x79_k10x5_s2x1_p0x0_d1x1_g1_b0"
    ),
    "mb2_ic512_oc64_ih7_oh7_kh1_ph0_": "n2_ci512_co64_i7x7_k1x1_s1x1_p0x0_d1x1_g1_b0",
    "mb2_g1ic1oc2_ih3oh1kh2sh1dh1ph0_iw5ow3kw2sw1dw1pw0": (
        "n2_ci1_co2_i3x5_k2x2_s1x1_p0x0_d2x2_g1_b0"
    ),
    "mb1ic3ih320oc51oh160kh7sh2ph3": "n1_ci3_co51_i320x320_k7x7_s2x2_p3x3_d1x1_g1_b0",
    # padding behind follows from the output
    'g1ic17oc17_iw8ow5kw3pw1sw2_n"1d"': "n2_ci17_co17_i8_k3_s2_p1_d1_g1_b0_e2",
    "mb2ic3ih300oc32oh150kh3sh2": "n2_ci3_co32_i300x300_k3x3_s2x2_p0x0_d1x1_g1_b0_e1x1",
    "mb2_g1ic32oc32_ih7oh11kh3ph2": "n2_ci32_co32_i7x7_k3x3_s1x1_p2x2_d1x1_g1_b0_e4x4",
    "g1ic64ih31iw1oc64oh32ow1kh1kw1ph0pw0": "n2_ci64_co64_i31x1_k1x1_s1x1_p0x0_d1x1_g1_b0_e1x0",
    'mb1_g16ic16oc16_ih1oh1kh2ph0_iw1ow1kw3pw1n"dw5"': (
        "n1_ci16_co16_i1x1_k2x3_s1x1_p0x1_d1x1_g16_b0_e1x1"
    ),
    'g16ic16oc16_iw5ow5kw3pw1_n"1d_conv:depthwise"': "n2_ci16_co16_i5_k3_s1_p1_d1_g16_b0",
    'mb1ic32iw100oc32kw2pw2sw1n"conv1d:17"': "n1_ci32_co32_i100_k2_s1_p2_d1_g1_b0",
    'ic16oc16_ih13kh3ph1_iw50kw3pw1_id10kd3pd1_n"3d"': (
        "n2_ci16_co16_i10x13x50_k3x3x3_s1x1x1_p1x1x1_d1x1x1_g1_b0"
    ),
    'g4ic20oc20_id8od4kd3pd1sd2_n"3d"': "n2_ci20_co20_i8x8x8_k3x3x3_s2x2x2_p1x1x1_d1x1x1_g4_b0",
    'g1ic32oc64_id64od32kd2sd2dd0pd0_ih64oh32kh2sh2dh0ph0_iw32ow16kw2sw2dw0pw0_n"vnet:conv1"': (
        "n2_ci32_co64_i64x64x32_k2x2x2_s2x2x2_p0x0x0_d1x1x1_g1_b0"
    ),
}
DECONVOLUTIONS = {
    "mb2_ic6oc4_ih4oh4kh3sh1dh0ph1_iw4ow4kw3sw1dw0pw1": (
        "n2_ci6_co4_i4x4_k3x3_s1x1_p1x1_d1x1_g1_b0_t0x0"
    ),
    "mb1_ic8oc4_ih5oh10kh3sh2ph1": "n1_ci8_co4_i5x5_k3x3_s2x2_p1x1_d1x1_g1_b0_t1x1",
}
ONEDNN = {
    "onednn_verbose,v1,primitive,exec,cpu,convolution,jit_dw:avx512_core,forward_training,"
    "src:f32:a:blocked:aBcd16b::f0 wei:f32:a:blocked:Abcde16a::f0 bia:undef::undef::: "
    "dst:f32:a:blocked:aBcd16b::f0,attr-scratchpad:user,alg:convolution_direct,"
    "g64mb1_ic64oc64_ih56oh56kh3sh1dh0ph1_iw56ow56kw3sw1dw0pw1,0.0510254": (
        RESNET.replace("g1", "g64"), "float32", "forward",
    ),
    "onednn_verbose,exec,cpu,convolution,jit:avx512_core_amx_bf16,forward_training,"
    "src_bf16::blocked:acdb:f0 wei_bf16:p:blocked:ABcd16b16a2b:f0 bia_f32::blocked:a:f0 "
    "dst_bf16::blocked:acdb:f0,attr-scratchpad:user ,alg:convolution_direct,"
    "mb1_ic3oc64_ih230oh112kh7sh2dh0ph0_iw230ow112kw7sw2dw0pw0,0.628906": (
        "n1_ci3_co64_i230x230_k7x7_s2x2_p0x0_d1x1_g1_b1", "bfloat16", "forward",
    ),
    "dnnl_verbose,exec,cpu,convolution,gemm:jit,backward_weights,src_bf16::blocked:abcd:f0 "
    "wei_f32::blocked:abcde:f0 bia_undef::undef::f0 dst_bf16::blocked:abcd:f0,,"
    "alg:convolution_direct,mb128_g32ic256oc256_ih28oh28kh3sh1dh0ph1_iw28ow28kw3sw1dw0pw1,42.2": (
        "n128_ci256_co256_i28x28_k3x3_s1x1_p1x1_d1x1_g32_b0", "bfloat16", "backward_weight",
    ),
    "mkldnn_verbose,exec,convolution,gemm:blas,backward_data,fsrc:nchw fwei:oihw fbia:undef "
    "fdst:nchw,alg:convolution_direct,"
    "mb48_ic192oc192_ih32oh32kh1sh1dh0ph0_iw32ow32kw1sw1dw0pw0,11,1197": (
        "n48_ci192_co192_i32x32_k1x1_s1x1_p0x0_d1x1_g1_b0", None, "backward_input",
    ),
    "dnnl_verbose,exec,cpu,deconvolution,ref:any,forward_training,src_f32::blocked:acdb:f0 "
    "wei_f32::blocked:cdba:f0 bia_f32::blocked:a:f0 dst_f32::blocked:acdb:f0,,"
    "alg:deconvolution_direct,mb2_ic6oc4_ih4oh4kh3sh1dh0ph1_iw4ow4kw3sw1dw0pw1,0.529053": (
        "n2_ci6_co4_i4x4_k3x3_s1x1_p1x1_d1x1_g1_b1_t0x0", "float32", "forward",
    ),
    "mkldnn_verbose,exec,convolution,forward_inference,fsrc:nChw8c fwei:gOIhw8i8o fbia:x "
    "fdst:nChw8c,alg:convolution_direct,mb2_g1ic16oc16_ih7oh7kh5sh1dh0ph2_iw7ow7kw5sw1dw0pw2": (
        "n2_ci16_co16_i7x7_k5x5_s1x1_p2x2_d1x1_g1_b1", None, "forward",
    ),
}  # fmt: skip
MIOPEN = {
    "MIOpenDriver conv -n 1 -c 64 -H 56 -W 56 -k 64 -y 3 -x 3 -p 1 -q 1 -u 1 -v 1 -l 1 -j 1 -g 1 "
    "-F 1": (RESNET, "float32", "forward"),
    "MIOpen(HIP): Command [LogCmdConvolution] ./bin/MIOpenDriver conv -n 1 -c 1 -H 3 -W 3 -k 2 "
    "-y 2 -x 2 -p 0 -q 0 -u 1 -v 1 -l 1 -j 1 -m conv -g 1 -F 1 -t 1 -b 1": (
        "n1_ci1_co2_i3x3_k2x2_s1x1_p0x0_d1x1_g1_b1", "float32", "forward",
    ),
    "$MIOpenDriver convfp16 -n 128 -c 480 -H 28 -W 28 -k 480 -y 5 -x 5 -p 2 -q 2 -u 1 -v 1 -l 1 "
    "-j 1 -m conv -g 480 -F 4 -t 1 ${TRACE} > log": (
        "n128_ci480_co480_i28x28_k5x5_s1x1_p2x2_d1x1_g480_b0", "float16", "backward_weight",
    ),
    '"./bin/MIOpenDriver convfp16 --batchsize 42 --spatial_dim 2 --pad_h 0 --pad_w 0 --pad_d 0 '
    "--conv_stride_h 2 --conv_stride_w 2 --conv_stride_d 0 --dilation_h 1 --dilation_w 1 "
    "--dilation_d 0 --group_count 1 --mode conv --pad_mode default --in_layout NCHW --in_d 1 "
    '--in_h 28 --in_w 28 --fil_d 1 --fil_h 1 --fil_w 1 --in_channels 512 --out_channels 1024 '
    '--forw 2"': (
        "n42_ci512_co1024_i28x28_k1x1_s2x2_p0x0_d1x1_g1_b0", "float16", "backward_input",
    ),
    "MIOpenDriver convbfp16 -n 1 -c 16 --in_d 5 -H 104 -W 60 -k 16 --fil_d 1 -y 1 -x 1 --pad_d 0 "
    "-p 0 -q 0 --conv_stride_d 1 -u 1 -v 1 --dilation_d 1 -l 1 -j 1 --spatial_dim 3 "
    "-in_layout=NDHWC -m conv -g 1 -F 0": (
        "n1_ci16_co16_i5x104x60_k1x1x1_s1x1x1_p0x0x0_d1x1x1_g1_b0", "bfloat16", "training",
    ),
    "MIOpenDriver conv -n 1 -c 8 -H 5 -W 5 -k 4 -y 3 -x 3 -p 1 -q 1 -u 2 -v 2 -m trans -Y 1 -X 1": (
        "n1_ci8_co4_i5x5_k3x3_s2x2_p1x1_d1x1_g1_b0_t1x1", "float32", "training",
    ),
    "./bin/MIOpenDriver conv -F 1 -P 1 -W 32 -H 32 -c 18 -k 5 -x 3 -y 3 -t 1": (
        "n100_ci18_co5_i32x32_k3x3_s1x1_p0x0_d1x1_g1_b0", "float32", "forward",
    ),
}  # fmt: skip
BATCH = r"""# comment
--reset --dt=f32 --dir=BWD_D
--attr-post-ops=, \
                sum:0.5, \
                relu
mb1ic64ih56oc64oh56kh3ph1n"one" mb1_ic64oc64_ih56oh56kh3sh1dh0ph1_iw56ow56kw3sw1dw0pw1 # equal

numactl -l tests/benchdnn/benchdnn --mode=p --conv -v5 --alg=auto mb4ic64ih9oc64oh9kh3ph1n"two"
--mb=3 mb1ic64ih56oc64oh56kh3ph1n"one"
"""


@pytest.mark.parametrize("text", DESCRIPTORS)
def test_a_descriptor_is_the_problem_benchdnn_runs(text: str) -> None:
    assert read_descriptor(text.replace('"', "")).label == DESCRIPTORS[text]


@pytest.mark.parametrize("text", DECONVOLUTIONS)
def test_a_deconvolution_is_a_transposed_problem(text: str) -> None:
    assert read_descriptor(text, transposed=True).label == DECONVOLUTIONS[text]


@given(conv_problems())
def test_a_full_descriptor_is_read_back(problem: ConvProblem) -> None:
    text = (
        f"g{problem.groups}mb{problem.batch_size}_ic{problem.in_channels}oc{problem.out_channels}"
    )
    sizes = (
        problem.input_size, problem.output_size, problem.kernel_size, problem.stride,
        tuple(d - 1 for d in problem.dilation), problem.padding,
    )  # fmt: skip
    for axis, numbers in zip("dhw"[-problem.rank :], zip(*sizes, strict=True), strict=True):
        text += "_" + "".join(
            f"{n}{axis}{number}" for n, number in zip("ioksdp", numbers, strict=True)
        )
    assert read_descriptor(text, problem.bias) == problem


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "problems.txt"


@pytest.mark.parametrize("line", ONEDNN | MIOPEN)
def test_a_line_of_a_log_is_found_among_others(path: Path, line: str) -> None:
    label, dtype, direction = (ONEDNN | MIOPEN)[line]
    path.write_text(f"loading, please wait\n\n{line}\nonednn_verbose,info,cpu,runtime:OpenMP\n")
    layers, *settings = read_problems(path)
    assert [layer.problem.label for layer in layers] == [label]
    assert settings == [dtype, direction]


def test_a_log_of_several_settings_has_none(path: Path) -> None:
    path.write_text("\n".join([*ONEDNN, *MIOPEN, "mb1 is no line of a log"]))
    found = read_problems(path)
    assert len(found.layers) == len(ONEDNN | MIOPEN)
    assert found.dtype is found.direction is None


def test_a_batch_file_of_benchdnn_is_read(path: Path) -> None:
    path.write_text(BATCH)
    layers, *settings = read_problems(path)
    labels = [layer.problem.label for layer in layers]
    small = "n4_ci64_co64_i9x9_k3x3_s1x1_p1x1_d1x1_g1_b0"
    assert labels == [RESNET, RESNET, small, RESNET.replace("n1_", "n3_")]
    assert settings == ["float32", "backward_input"]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("mb1_ic64oc64_ih56kh3ih", "'ih' where"),
        ("mb1_ic64oc64_ih56kh3sh1x2", "'x2' where"),
        ("mb1_ic64_ih56oh56kh3", "no oc"),
        ("mb1_ic64oc64_ih56oh56", "no kh"),
        ("mb1_ic64oc64_ih56kh3_iw56", "no kw"),
        ("mb1_ic64oc64", "no ih"),
        ("mb0_ic64oc64_ih56kh3", "batch_size"),
        ("g3mb1_ic64oc64_ih56kh3", "groups=3"),
        ("mb1_ic64oc64_ih2kh7", "kernel_size 7x7"),
        ("mb1_ic64oc64_ih9kh3sh0", "stride"),
        ("mb1_ic64oc64_ih9oh4kh3ph0", "padding_end"),  # rows are cut off
        ('mb1_ic64oc64_ih9oh9kh3n"open', "quotation"),
        ("--batch=shapes_basic", "'--batch=shapes_basic'"),
        ("MIOpenDriver conv -n 1 --spatial_dim 5", "spatial_dim=5"),
        ("MIOpenDriver conv -n many", "batchsize='many'"),
        ("MIOpenDriver conv -n 1 -z same", "pad_mode='same'"),
        ("MIOpenDriver conv -n 1 -c 5 -g 2", "groups=2"),
        ("MIOpenDriver conv -n 2 -c 16 -H 8 -W 8 -k 16 -y", "y has no value"),
        ("MIOpenDriver conv -y -x 3", "y has no value"),
        ("MIOpenDriver conv -H 8 --in_h 9", "in_h has two values"),
        ("MIOpenDriver convint8 -n 1", "'convint8'"),
        ("MIOpenDriver conv -n 1 -F 9", "direction '9'"),
        (next(iter(ONEDNN)).split(",alg")[0], "cut off"),
        (next(iter(ONEDNN)).split("ward_tr")[0], "cut off"),
        (next(iter(ONEDNN)).replace("f32", "u8"), "'u8'"),
        ("--dir=FWD_X mb1ic16ih8oc16kh3ph1", "'FWD_X'"),
        ("--dir=FWD_B,BWD_X mb1ic16ih8oc16kh3ph1", "'BWD_X'"),
        ("--dt=f99 mb1ic16ih8oc16kh3ph1", "'f99'"),
        ("--dt=u8:s8:f32 mb1ic16ih8oc16kh3ph1", "'u8:s8:f32'"),
        ("--cfg=u8s8s32 mb1ic16ih8oc16kh3ph1", "'u8s8s32'"),
        ("--mb=many mb1ic16ih8oc16kh3ph1", "'many'"),
        ("mb1ic16ih8oc16kh3ph1oh8ih9", "ih twice"),
        ("mb1ic16ih8oh99oc16kh3ph1", "oh99 needs"),
    ],
)
def test_a_wrong_line_is_named_with_its_number(path: Path, line: str, named: str) -> None:
    path.write_text(
        f"{next(iter(DESCRIPTORS)) if not re.search('Driver|verbose', line) else ''}\n{line}\n"
    )
    with pytest.raises(ValueError, match=f"'{path}' line 2: ") as raised:
        read_problems(path)
    assert named in str(raised.value)


def test_several_settings_of_a_batch_file_are_none(path: Path) -> None:
    path.write_text("--dir=FWD_B,BWD_D --dt=bf16:bf16:f32 mb1ic16ih8oc16kh3ph1")
    found = read_problems(path)
    assert (found.dtype, found.direction) == ("bfloat16", None)


@pytest.mark.parametrize("text", ["", "hello", "hello\n1,2\n"])
def test_a_file_of_no_format_names_all_formats(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ValueError, match=r"CSV.*benchdnn.*MIOpenDriver.*oneDNN"):
        read_problems(path)


def test_axes_of_a_format_are_never_mixed(path: Path) -> None:
    """A size is one number per dimension, in the order depth, height, width."""
    found = read_descriptor("mb1_ic1oc1_iw5kw1_ih4kh1_id3kd1")
    assert format_size(found.input_size) == "3x4x5"
