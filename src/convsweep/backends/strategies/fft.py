"""FFT convolution: the spectrum of a correlation is the product of two spectra.

Mathieu, Henaff & LeCun 2013, Fast Training of Convolutional Networks through FFTs.
"""

from math import log2, prod

from convsweep.backends.base import Backend, Conv, Tensor, Weights, direct_sum_bound
from convsweep.backends.steps import bias_step, step
from convsweep.problems.problem import ConvProblem, Size

MAX_SPECTRUM = 2**27  # Numbers in the spectrum of the weights: half a gigabyte in float32


def period(problem: ConvProblem) -> Size:
    """Return the lengths of a circular convolution whose wrap-around changes no output.

    Taps read from -padding to input_size + padding_end. Margins of both ends may overlap, since
    both are zeros.
    """
    from scipy.fft import next_fast_len

    axes = zip(problem.input_size, problem.margins, problem.span, strict=True)
    least = (max(i + max(both), r, i + sum(both) - r + 1) for i, both, r in axes)
    return tuple(next_fast_len(length, real=True) for length in least)


def frequencies(problem: ConvProblem) -> int:
    """Return the complex numbers in the spectrum of a real image, without the conjugate half."""
    *slow, last = period(problem)
    return prod(slow) * (last // 2 + 1)


def unsupported(problem: ConvProblem) -> str | None:
    """Return why a problem has one tap only, reads mostly padding, or has too large a spectrum.

    Rounding errors are those of all taps and pixels, also of taps that read padding only.
    """
    if problem.is_pointwise:
        return "needs a kernel above 1"
    if any(span > size for span, size in zip(problem.span, problem.input_size, strict=True)):
        return "needs an image that is not smaller than its kernel"
    kept = prod(problem.weight_shape) + problem.bias * problem.out_channels
    if problem.min_bytes(1) == kept + prod(problem.output_shape):
        return "needs an output that depends on the input: rounding errors are not zeros"
    kernels = problem.out_channels * problem.in_channels // problem.groups
    numbers = 2 * frequencies(problem) * kernels
    if numbers > MAX_SPECTRUM:
        return f"the spectrum of the weights has {numbers} numbers, over {MAX_SPECTRUM}"
    return None


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Transform the weights to (F, G, C_in / G, C_out / G), F frequencies and G groups."""
    import torch

    from convsweep.backends.tensor_layout import in_layout_of

    lengths, groups, output_shape = period(problem), problem.groups, problem.output_shape
    axes = tuple(range(-problem.rank, 0))
    dilated = weights.dense.new_zeros(*problem.weight_shape[:2], *lengths)
    every = [slice(None)] * 2
    every += [slice(0, r, d) for r, d in zip(problem.span, problem.dilation, strict=True)]
    dilated[tuple(every)] = weights.dense
    shifted = dilated.roll([-p for p in problem.padding], axes)
    spectrum: Tensor = torch.fft.rfftn(shifted, dim=axes).conj()  # of a correlation
    W = spectrum.reshape(groups, -1, problem.weight_shape[1], frequencies(problem))
    W = W.permute(3, 0, 2, 1).resolve_conj().contiguous()
    spectrum_size = (*lengths[:-1], lengths[-1] // 2 + 1)
    outputs = zip(problem.output_size, problem.stride, strict=True)
    kept = (..., *(slice(0, (o - 1) * s + 1, s) for o, s in outputs))
    with_bias = bias_step(weights.bias, problem.rank)

    @step("input_transform")
    def spectrum_of(x: Tensor) -> Tensor:  # (F, G, N, C_in / G)
        X: Tensor = torch.fft.rfftn(x, lengths, axes)  # (N, C_in, *spectrum_size)
        return X.reshape(x.shape[0], groups, -1, W.shape[0]).permute(3, 1, 0, 2)

    @step("product")
    def multiplied(X: Tensor) -> Tensor:  # (N, C_out, *spectrum_size)
        Y = (X @ W).permute(2, 1, 3, 0)  # (N, G, C_out / G, F)
        return Y.reshape(*output_shape[:2], *spectrum_size)

    image_of = step("output_transform")(lambda Y: torch.fft.irfftn(Y, lengths, axes)[kept])
    layout_of = step("layout")(in_layout_of)
    return lambda x: layout_of(x, with_bias(image_of(multiplied(spectrum_of(x)))))


def macs(problem: ConvProblem) -> int:
    """Return 4 products per complex product, and 5/4 L log2 L per real transform of L numbers.

    The latter is half of the 5/2 L log2 L operations of Frigo & Johnson 2005 (The Design and
    Implementation of FFTW3), which count multiplications and additions.
    """
    length = prod(period(problem))
    images = problem.batch_size * (problem.in_channels + problem.out_channels)
    pairs = problem.batch_size * problem.out_channels * problem.in_channels // problem.groups
    return 4 * frequencies(problem) * pairs + round(images * 5 / 4 * length * log2(length))


def min_bytes(problem: ConvProblem, itemsize: int) -> int:
    """Return the direct bytes with two numbers per frequency in place of the taps."""
    kernels = problem.out_channels * problem.in_channels // problem.groups
    growth = 2 * frequencies(problem) - prod(problem.kernel_size)
    return problem.min_bytes(itemsize) + growth * kernels * itemsize


def error_bound(problem: ConvProblem) -> float:
    """Return the direct bound plus log2 L for each of 3 transforms (Higham 2002, theorem 24.2)."""
    return direct_sum_bound(problem) + 3 * log2(prod(period(problem)))


BACKEND = Backend(
    name="fft",
    prepare=prepare,
    unsupported=unsupported,
    macs=macs,
    min_bytes=min_bytes,
    error_bound=error_bound,
    source="Mathieu, Henaff & LeCun 2013, Fast Training of Convolutional Networks through FFTs",
    direct=False,
    own_padding_end=True,
    device_types=("cpu", "cuda"),
    dtypes=("float32", "float64"),
    family="algorithms",
)
