"""Colours of speedups: brown is slower, white the same, blue-green faster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

Color = tuple[float, float, float, float]

_MAP = colormaps["BrBG"]  # distinct with any colour vision
_LUMINANCE = (0.299, 0.587, 0.114)
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10)
_LEAST, _MOST = 1.0, 4.0  # of the limit: colours end between 2 and 16 times faster or slower


class SpeedupColors(NamedTuple):
    """Colour scale of speedups, symmetric on a logarithmic axis."""

    limit: float  # log2 of the speedup where the colours end

    @classmethod
    def of(cls, speedups: Iterable[float]) -> SpeedupColors:
        """Return the scale that fits the given speedups."""
        powers = np.abs(np.log2(np.asarray([*speedups], dtype="float64")))
        return cls(min(_MOST, max(_LEAST, float(powers.max()))))

    def color(self, speedup: float) -> Color:
        """Return the colour of a cell, as RGBA."""
        return _MAP(float(np.clip(0.5 + np.log2(speedup) / (2 * self.limit), 0, 1)))

    def add_bar(self, axes: Sequence[Axes], label: str, fraction: float = 0.06) -> None:
        """Add a colour bar below the panels, which takes a fraction of their height."""
        clipped = self.limit == _MOST
        bar = axes[0].figure.colorbar(
            ScalarMappable(Normalize(-self.limit, self.limit), _MAP), ax=axes, location="bottom",
            extend="both" if clipped else "neither", fraction=fraction, aspect=70, pad=0.02,
            ticks=[power for power in np.log2(_TICKS) if abs(power) <= self.limit],
        )  # fmt: skip
        bar.ax.xaxis.set_major_formatter(lambda power, _: f"{2.0**power:.2g}")
        bar.set_label(f"speedup: {label} (above 1 is faster)")
        bar.ax.grid(visible=False)


def ink(color: Color) -> str:
    """Return the text colour that is readable on the colour of a cell."""
    return "white" if np.dot(color[:3], _LUMINANCE) < 0.5 else "black"
