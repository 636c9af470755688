"""The strategies in torch operations keep the laws of the papers that they come from."""

from fractions import Fraction
from itertools import product
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convsweep import Backend, ConvProblem, list_backends
from convsweep.backends.strategies import fft, im2col_banded, kn2row, winograd
from convsweep.backends.winograd_transforms import exact_transforms, good_points, transforms
from convsweep.measure.checks import check, output
from convsweep.measure.inputs import make_inputs
from convsweep.measure.reference import compute_reference
from tests.support.strategies import conv_problems

ALGORITHMS = [backend for backend in list_backends().values() if backend.family == "algorithms"]
FEW = settings(max_examples=25)

distinct_points = st.lists(
    st.fractions(-3, 3, max_denominator=8), min_size=9, max_size=9, unique=True
)


def square(channels: int, size: int, **settings: int) -> ConvProblem:
    return ConvProblem(channels, channels, (size, size), 3, **settings)


def test_they_are_the_family() -> None:
    names = {backend.name for backend in ALGORITHMS}
    assert names >= {"winograd", "fft", "kn2row", "im2col_banded", "mec"}


@given(outputs=st.integers(1, 6), taps=st.integers(1, 5), points=distinct_points)
@settings(max_examples=40)
def test_cook_and_toom_s_products_are_the_correlation_exactly(
    outputs: int, taps: int, points: list[Fraction]
) -> None:
    length = outputs + taps - 1
    A, B, G = exact_transforms(outputs, taps, points[: length - 1])
    for k, j, i in product(range(outputs), range(taps), range(length)):
        share = sum(A[f][k] * G[f][j] * B[i][f] for f in range(length))
        assert share == (i == k + j)  # output k is the sum of tap j times input k + j


def test_f_2_3_is_the_one_in_every_paper() -> None:
    A, B, G = transforms(2)
    assert abs(A.T).tolist() == [[1, 1, 1, 0], [0, 1, 1, 1]]
    assert abs(B.T).tolist() == [[1, 0, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 0, 1]]
    assert abs(G).tolist() == [[1, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.5], [0, 0, 1]]


@pytest.mark.parametrize("outputs", [2, 4, 6])
def test_what_acts_on_the_image_is_exact_in_single_precision(outputs: int) -> None:
    A, B, _ = map(torch.from_numpy, transforms(outputs))
    assert torch.equal(A.float().double(), A)
    assert torch.equal(B.float().double(), B)


def test_good_points_amplify_less_than_the_textbook_s() -> None:
    textbook = tuple(map(Fraction, (0, 1, -1, 2, -2)))
    assert growth(4, good_points(5)) < 0.6 * growth(4, textbook)


def growth(outputs: int, points: tuple[Fraction, ...]) -> float:
    A, B, G = transforms(outputs, 3, points)
    return float(((A**2).T @ ((G**2).sum(1) * (B**2).sum(0))).max())


@pytest.mark.parametrize(
    ("outputs", "taps", "points"),
    [(0, 3, None), (2, 0, None), (8, 3, None), (2, 3, (0, 1)), (2, 3, (0, 1, 1)), (1, 2, (0, 1))],
)
def test_impossible_transforms_are_refused(
    outputs: int, taps: int, points: tuple[int, ...] | None
) -> None:
    fractions = None if points is None else tuple(map(Fraction, points))
    with pytest.raises(ValueError, match=r"needs at least|good points|different points"):
        exact_transforms(outputs, taps, fractions)


@pytest.mark.parametrize(
    ("problem", "outputs"),
    [
        (square(128, 112, padding=1), 4),
        (square(128, 28, padding=1), 4),
        (square(512, 14, padding=1), 2),
        (square(512, 14, padding=1, batch_size=8), 4),
        (square(512, 7, padding=1), 2),
        (ConvProblem(8, 8, (32, 32, 32), 3), 2),
    ],
)
def test_winograd_takes_large_tiles_where_there_are_many(
    problem: ConvProblem, outputs: int
) -> None:
    assert winograd.tile_outputs(problem) == outputs


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize(
    "problem",
    [
        ConvProblem(5, 7, (41, 23), 3, padding=(1, 0), bias=True),
        ConvProblem(64, 3, (22, 27), 3, padding=2, batch_size=2),
        ConvProblem(6, 4, (25, 30), 3, groups=2, padding=3),
        ConvProblem(2, 3, (200,), 3, padding=1, bias=True),
        ConvProblem(3, 5, (9, 7, 8), 3, padding=1, bias=True),
    ],
    ids=lambda problem: problem.label,
)
def test_winograd_s_bound_holds_with_twofold_room(
    problem: ConvProblem, memory_format: str, dtype: str
) -> None:
    if problem.rank == 1:
        memory_format = "contiguous"
    inputs = make_inputs(problem, dtype=dtype, memory_format=memory_format)
    bound = winograd.error_bound(problem) / 2
    conv = winograd.prepare(problem, inputs.weights)
    expected = compute_reference(problem, inputs)
    assert check(conv, inputs, output(expected, bound)).reason is None


def test_winograd_works_in_bands_as_on_the_whole_image(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = square(4, 43, padding=1, bias=True)
    inputs = make_inputs(problem, dtype="float64")
    whole = winograd.prepare(problem, inputs.weights)(inputs.x)
    monkeypatch.setattr(winograd, "TILES_BYTES", 36 * 11 * 4 * 8 * 2)  # two rows of tiles
    banded = winograd.prepare(problem, inputs.weights)(inputs.x)
    assert torch.allclose(banded, whole, rtol=0, atol=1e-13)


def test_winograd_multiplies_as_much_as_a_hand_counts() -> None:
    # 28 / 4 = 7 tiles a side; 36 products of 128 x 64; 6x6 matrices twice on 6x6, 4x6 on 6x6, 4x6.
    problem = ConvProblem(128, 64, (28, 28), 3, padding=1)
    image, back = 128 * (6 * 6 * 6 + 6 * 6 * 6), 64 * (4 * 6 * 6 + 4 * 6 * 4)
    assert winograd.macs(problem) == 49 * (36 * 128 * 64 + image + back)
    assert winograd.min_bytes(problem, 4) == problem.min_bytes() + 4 * (36 - 9) * 128 * 64


def test_the_others_multiply_as_much_as_a_hand_counts() -> None:
    problem = ConvProblem(3, 5, (10,), 3, padding=1, stride=2)  # a circle of 12: 7 frequencies
    assert fft.period(problem) == (12,)
    assert fft.macs(problem) == 4 * 7 * 15 + round((3 + 5) * 1.25 * 12 * 3.584962500721156)
    assert fft.min_bytes(problem, 4) == problem.min_bytes() + 4 * (14 - 3) * 15
    assert kn2row.macs(problem) == 3 * 15 * 10


@given(problem=conv_problems(max_kernel=5, max_padding=6, max_dilation=3))
@FEW
def test_the_circle_of_the_fft_is_wide_enough(problem: ConvProblem) -> None:
    inputs = make_inputs(problem, dtype="float64", integers=True)
    y = fft.prepare(problem, inputs.weights)(inputs.x)
    assert torch.equal(y.round(), compute_reference(problem, inputs).y)
    assert (y - y.round()).abs().max() < 1e-9


@pytest.mark.parametrize(
    "problem",
    [
        ConvProblem(4, 4, (9, 9), 1),
        ConvProblem(1, 1, (1, 1), (1, 2), padding=1, stride=(3, 1)),
        ConvProblem(512, 512, (56, 56), 3),
    ],
)
def test_the_fft_does_not_support_one_tap_padding_alone_or_large_spectra(
    problem: ConvProblem,
) -> None:
    assert fft.unsupported(problem)


@given(problem=conv_problems(max_extra=40), room=st.integers(1, 20_000))
@FEW
def test_bands_hold_every_output_row_once(problem: ConvProblem, room: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(im2col_banded, "COLUMNS_BYTES", room)
        bands = list(im2col_banded.bands(problem, 4))
    rows = [row for band in bands for row in range(band.start, band.stop)]
    row_bytes = 4 * problem.groups * problem.taps * prod(problem.output_size[1:])
    assert rows == list(range(problem.output_size[0]))
    assert all((band.stop - band.start) * row_bytes <= max(room, row_bytes) for band in bands)


@pytest.mark.parametrize("backend", ALGORITHMS, ids=lambda backend: backend.name)
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@given(rank=st.integers(2, 3), channels=st.integers(1, 6), size=st.integers(3, 12))
@settings(max_examples=8)
def test_an_answer_lies_in_memory_as_its_image_does(
    backend: Backend, memory_format: str, rank: int, channels: int, size: int
) -> None:
    problem = ConvProblem(channels, 4, (size,) * rank, 3, padding=1, batch_size=2, bias=True)
    inputs = make_inputs(problem, memory_format=memory_format)
    y = backend.prepare(problem, inputs.weights)(inputs.x)
    in_planes = inputs.x.is_contiguous()
    assert y.is_contiguous() if in_planes else y.movedim(1, -1).is_contiguous()
