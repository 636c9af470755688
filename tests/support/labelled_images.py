"""Small labelled data for studies of accuracy: images around patterns, a scene of stripes."""

import numpy as np

from convsweep.accuracy.datasets import Images, Scene


def images(samples: int = 60, classes: int = 3) -> Images:
    """Noise around a pattern of each class."""
    rng = np.random.default_rng(0)
    labels = np.arange(samples) % classes
    patterns = rng.normal(size=(classes, 2, 8, 8))
    noisy = patterns[labels] + rng.normal(size=(samples, 2, 8, 8))
    return Images(noisy.astype(np.float32), labels.astype(np.int64))


def scene() -> Scene:
    """Stripes of three classes and one that is too rare; every pixel's first value is its place."""
    labels = np.tile(np.arange(48) // 4 % 4, (48, 1))
    labels[0, 0] = 9
    cube = np.arange(2 * 48 * 48, dtype=np.float32).reshape(2, 48, 48)
    return Scene(cube, labels, patch=3, tile=6, least_labelled=10, least_samples=5)
