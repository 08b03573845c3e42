"""Simulated ship tracks: brighter in the near infrared where droplets are smaller, unseen in the thermal band, the same for the same seed."""

import numpy as np
import pytest
from scipy import ndimage

from products.simulation.ship_tracks import Track, _influence, make_track_scene, optical_thickness


def test_a_scene_is_the_same_for_the_same_seed_and_has_tracks_in_cloud() -> None:
    one, again = (make_track_scene(np.random.default_rng(3), 96, 3) for _ in range(2))
    np.testing.assert_array_equal(one.bands, again.bands)
    assert one.bands.shape == (3, 96, 96) and 0.01 < one.is_track.mean() < 0.2
    assert not make_track_scene(np.random.default_rng(3), 96, 0).is_track.any()
    assert ((one.bands[0] > 0) & (one.bands[0] < 1)).all() and ((one.bands[2] > 280) & (one.bands[2] < 292)).all()


def test_tracks_stand_out_most_at_2_micrometres_and_not_at_11() -> None:
    contrast = []
    for seed in range(8):
        scene = make_track_scene(np.random.default_rng(seed), 128, 2)
        apart = ndimage.distance_transform_edt(~scene.is_track)
        beside = (apart > 8) & (apart < 14) & (scene.bands[1] > 0.02)
        contrast.append([(band[scene.is_track].mean() / band[beside].mean()) - 1 for band in scene.bands])
    visible, infrared, thermal = np.mean(contrast, axis=0)
    assert infrared > visible + 0.05 and infrared > 0.1 and abs(thermal) < 0.01


def test_smaller_droplets_of_the_same_water_are_thicker() -> None:
    water = np.array([100.0], np.float32)
    assert optical_thickness(water, np.array([15.0], np.float32)).tolist() == pytest.approx([10.0])
    assert optical_thickness(water, np.array([7.5], np.float32)).tolist() == pytest.approx([20.0])


def test_a_track_that_left_the_scene_changes_nothing() -> None:
    shrink, middle = _influence(Track(np.empty((0, 2)), np.empty(0)), (8, 8))
    assert not shrink.any() and not middle.any()
