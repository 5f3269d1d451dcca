"""Tests the animation of the prototypes."""

import numpy as np
import torch
from PIL import Image

from cifar10.results.publish import animate_prototypes


def test_animation_has_a_frame_per_snapshot(tmp_path):
    frames = torch.randint(256, (3, 2, 10, 3, 32, 32)) / 255
    animate_prototypes(dict(enumerate(frames)), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert (picture.n_frames, picture.size) == (3, (3 * (5 * 34 - 2), 3 * 66))
        for frame in range(3):
            picture.seek(frame)
            assert picture.info["duration"] == (3000 if frame == 2 else 500)
            pixels = np.array(picture.convert("RGB"))[::3, ::3]
            expected = (frames[frame, 0, 6] * 255).round().byte().permute(1, 2, 0)  # second row, second column
            np.testing.assert_array_equal(pixels[34:66, 34:66], expected)
