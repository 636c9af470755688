"""Data sets of studies: honest splits, from one seed the same."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convsweep.accuracy.datasets import SOURCES, Images, Scene, digest
from tests.support.labelled_images import images, scene

SEEDS = st.integers(0, 10**6)


def covered(scene: Scene, centres: np.ndarray) -> set[tuple[int, int]]:
    """Every pixel of the patches around these centres."""
    reach = range(-(scene.patch // 2), scene.patch // 2 + 1)
    return {(int(r) + i, int(c) + j) for r, c in centres for i in reach for j in reach}


@given(SEEDS)
@settings(max_examples=20)
def test_patches_to_train_and_to_test_share_no_pixel(seed: int) -> None:
    train, test = scene().centres(seed)
    assert covered(scene(), train).isdisjoint(covered(scene(), test))


@given(SEEDS)
@settings(max_examples=20)
def test_every_class_of_a_scene_is_on_both_sides_and_no_other_is(seed: int) -> None:
    for centres in scene().centres(seed):
        labels, counts = np.unique(scene().labels[*centres.T], return_counts=True)
        assert list(labels) == [1, 2, 3]
        assert counts.min() >= scene().least_samples


def test_a_patch_lies_around_its_pixel() -> None:
    whole = scene()
    centres = whole.centres(0)[0]
    middle = whole._patches(centres)[:, :, 1, 1]
    assert (middle == whole.cube[:, *centres.T].T).all()


def test_a_scene_that_can_not_be_split_says_so() -> None:
    with pytest.raises(ValueError, match="no draw of tiles of 1000000 pixels"):
        replace(scene(), tile=10**6, most_draws=5).split(0)


@given(SEEDS)
@settings(max_examples=20)
def test_of_every_class_the_same_share_of_images_is_tested(seed: int) -> None:
    split = images().split(seed)
    assert list(np.bincount(split.test_labels)) == [4, 4, 4]
    assert list(np.bincount(split.train_labels)) == [16, 16, 16]


def test_no_image_is_on_both_sides() -> None:
    whole = images()
    plain = Images(np.arange(60, dtype=np.float32).reshape(60, 1, 1, 1), whole.labels)
    split = plain.split(3)
    assert not {*split.train.ravel()} & {*split.test.ravel()}


@pytest.mark.parametrize("data", [images(), scene()])
def test_the_training_samples_alone_decide_the_scale(data: Images | Scene) -> None:
    train = data.split(1).train
    assert np.allclose(train.mean(axis=(0, 2, 3)), 0, atol=1e-4)
    assert np.allclose(train.std(axis=(0, 2, 3)), 1, atol=1e-4)


@pytest.mark.parametrize("data", [images(), scene()])
def test_a_seed_gives_its_split_again_and_another_seed_another(data: Images | Scene) -> None:
    assert digest(data.split(5)) == digest(data.split(5)) != digest(data.split(6))


@functools.cache
def shipped(name: str) -> Images | Scene:
    """A data set of a package, read once."""
    pytest.importorskip(SOURCES[name].package)
    return SOURCES[name].load()


@pytest.mark.parametrize("name", SOURCES)
def test_a_shipped_data_set_splits_into_all_its_classes(name: str) -> None:
    split = shipped(name).split(0)
    assert {*split.train_labels} == {*split.test_labels} == {*range(9 + (name != "indian_pines"))}
    assert len(split.test) < len(split.train)


def test_indian_pines_train_and_test_on_pixels_of_their_own() -> None:
    pines = shipped("indian_pines")
    assert isinstance(pines, Scene)
    train, test = pines.centres(0)
    assert pines.cube.shape == (200, 145, 145)
    assert covered(pines, train).isdisjoint(covered(pines, test))
