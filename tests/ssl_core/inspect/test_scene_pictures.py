"""Labels and depth as pictures that say what they say."""

import numpy as np

from ssl_core.data.scene_pack import VOID
from ssl_core.inspect.scene_pictures import depth_picture, label_picture


def test_labels_take_their_colours_and_void_is_black():
    palette = np.array([[1, 2, 3], [9, 8, 7]], np.uint8)
    found = label_picture(np.array([[0, 1, VOID]], np.uint8), palette)
    np.testing.assert_array_equal(found, [[[1, 2, 3], [9, 8, 7], [0, 0, 0]]])


def test_near_is_bright_and_unknown_is_black():
    found = depth_picture(np.array([[0.0, 1.0, 2.0, 4.0]], np.float32))[0, :, 0].tolist()
    assert found[0] == 0
    assert found[1] == 255
    assert found[1] > found[2] > found[3] == 50
    assert not depth_picture(np.zeros((2, 2), np.float32)).any()
