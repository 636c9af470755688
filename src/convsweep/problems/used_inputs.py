"""Input positions along one dimension that at least one output depends on."""


def count_read(
    input_size: int, output_size: int, kernel_size: int, stride: int, padding: int, dilation: int
) -> int:
    """Return how many positions a convolution reads.

    Tap j of output o reads position `o * stride + j * dilation - padding`. Per remainder of
    the offsets by the stride, each tap reads an interval; the union of the intervals counts.
    """
    shifts: dict[int, list[int]] = {}
    for tap in range(kernel_size):
        shift, remainder = divmod(tap * dilation, stride)
        shifts.setdefault(remainder, []).append(shift)
    used = 0
    for remainder, starts in shifts.items():
        reached = -((remainder - padding) // stride)  # the first one inside the image
        end = (input_size - 1 - remainder + padding) // stride + 1
        used += _count_union([(start, min(start + output_size, end)) for start in starts], reached)
    return used


def count_spread(
    input_size: int, output_size: int, kernel_size: int, stride: int, padding: int, dilation: int
) -> int:
    """Return how many positions a transposed convolution spreads to an output.

    Position i adds to output `i * stride + j * dilation - padding` for each tap j.
    """
    offsets = [padding - tap * dilation for tap in reversed(range(kernel_size))]
    intervals = [(-(-o // stride), min((output_size - 1 + o) // stride + 1, input_size))
                 for o in offsets]  # fmt: skip
    return _count_union(intervals, 0)


def _count_union(intervals: list[tuple[int, int]], reached: int) -> int:
    """Return how many numbers from `reached` on are in intervals, which are sorted by start."""
    used = 0
    for start, stop in intervals:
        used += max(0, stop - max(start, reached))
        reached = max(reached, stop)
    return used
