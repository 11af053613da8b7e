from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as tv

from convsmith.data.area_crop import boxed
from convsmith.data.geometry import eyes, rotation
from convsmith.data.resample import cut, interpolate, move, resample


def pictures(n: int, height: int, width: int, channels: int = 2) -> torch.Tensor:
    return torch.arange(1, n * height * width * channels + 1).view(n, height, width, channels)


@given(
    flip=st.booleans(),
    dx=st.integers(-5, 5),
    dy=st.integers(-5, 5),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
)
def test_mirror_and_shift_equal_slicing(flip: bool, dx: int, dy: int, height: int, width: int) -> None:
    """First mirrored, then padded by 5 and cut out: what numpy does by slices."""
    image = pictures(1, height, width)
    matrix = torch.diag(torch.tensor([-1.0 if flip else 1.0, 1.0, 1.0])) @ torch.tensor(
        [[1.0, 0, dx], [0, 1, dy], [0, 0, 1]]
    )
    padded = np.pad(image[0].numpy()[:, :: -1 if flip else 1], ((5, 5), (5, 5), (0, 0)))
    expected = padded[5 + dy : 5 + dy + height, 5 + dx : 5 + dx + width]
    assert (move(image, matrix[None])[0].numpy() == expected).all()


def test_each_image_has_its_own_matrix() -> None:
    images = pictures(3, 4, 5)
    matrices = torch.eye(3).repeat(3, 1, 1)
    matrices[1, 0, 0] = -1
    matrices[2, 1, 2] = 4  # all outside
    moved = move(images, matrices)
    assert moved[0].equal(images[0])
    assert moved[1].equal(images[1].flip(1))
    assert not moved[2].any()


def noise(n: int, size: int) -> torch.Tensor:
    draws = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (n, size, size, 3), generator=draws, dtype=torch.uint8)


@given(
    x=st.integers(0, 20),
    y=st.integers(0, 20),
    width=st.integers(3, 12),
    height=st.integers(3, 12),
    flip=st.booleans(),
)
def test_boxes_are_torchvisions_resized_crop(x: int, y: int, width: int, height: int, flip: bool) -> None:
    """Antialiased, as torchvision's default; its uint8 rounds once more or less."""
    image = noise(1, 32)
    matrix = boxed(torch.tensor([[float(width), height]]), torch.tensor([[float(x), y]]), 32)
    mirror = torch.diag(torch.tensor([-1.0 if flip else 1.0, 1.0, 1.0]))
    ours = resample(image, matrix @ mirror)
    theirs = tv.resized_crop(image.permute(0, 3, 1, 2), y, x, height, width, [32, 32], antialias=True)
    theirs = tv.horizontal_flip(theirs) if flip else theirs
    assert ours.dtype == torch.uint8
    assert (ours.int() - theirs.permute(0, 2, 3, 1).int()).abs().max() <= 1


def test_a_box_of_everything_is_the_image_itself() -> None:
    images = noise(3, 16)
    assert cut(images, eyes(3), (16, 16)).equal(images)


def test_each_image_goes_its_cheapest_exact_way() -> None:
    images = noise(2, 16)
    shifts = eyes(2)
    shifts[1, 0, 2] = 3
    assert resample(images, shifts).equal(move(images, shifts))
    boxes = boxed(torch.tensor([[8.0, 8], [16, 16]]), torch.tensor([[4.0, 4], [0, 0]]), 16)
    assert resample(images, boxes)[1].equal(images[1])
    turned = rotation(torch.tensor([0.0, 30.0]))
    mixed = resample(images, turned)
    assert mixed.dtype == torch.float32
    assert torch.allclose(mixed[0], images[0].float(), atol=1e-2)


def test_a_box_beyond_the_border_is_interpolated_with_black_outside() -> None:
    images = torch.full((1, 8, 8, 1), 200, dtype=torch.uint8)
    beyond = boxed(torch.tensor([[16.0, 16.0]]), torch.tensor([[-4.0, -4.0]]), 8)
    small = resample(images, beyond)[0, :, :, 0]
    assert small[2:6, 2:6].min() == 200
    assert small[:2].max() == 0


def test_pictures_smaller_than_what_is_stored() -> None:
    """Whole images and whole boxes as torchvision resizes them; turned ones by interpolation of the large."""
    images = noise(2, 32)
    planes = images.permute(0, 3, 1, 2)
    whole = resample(images, eyes(2), 20).permute(0, 3, 1, 2)
    # Versions of torch round bytes differently.
    assert (whole.int() - tv.resize(planes, [20, 20], antialias=True).int()).abs().max() <= 1
    box = boxed(torch.tensor([[15.0, 9], [32, 32]]), torch.tensor([[3.0, 20], [0, 0]]), 32)
    part = resample(images, box, 20).permute(0, 3, 1, 2)[:1]
    assert (part.int() - tv.resized_crop(planes[:1], 20, 3, 9, 15, [20, 20]).int()).abs().max() <= 1
    turned = resample(images, rotation(torch.tensor([90.0, 90.0])), 20)
    large = interpolate(images.rot90(1, (1, 2)), eyes(2), (32, 32))
    # every 1.6th place of the large one
    assert torch.allclose(
        turned, interpolate(large, eyes(2) * torch.tensor([1.6, 1.6, 1]), (20, 20)), atol=0.1
    )


@given(shift=st.floats(-3, 3))
def test_interpolation_is_numpys(shift: float) -> None:
    row = torch.rand(1, 1, 9, 1)
    matrix = eyes(1)
    matrix[0, 0, 2] = shift
    padded = np.concatenate([[0.0], row.flatten().numpy(), [0.0]])
    expected = np.interp(np.arange(9) + shift, np.arange(-1, 10), padded, left=0, right=0)
    assert interpolate(row, matrix, (1, 9)).flatten().numpy() == pytest.approx(expected, abs=1e-4)


@pytest.mark.gpu
def test_the_gpu_shows_the_same() -> None:
    images = noise(4, 24)
    for matrices in (eyes(4), rotation(torch.linspace(0, 90, 4))):
        ours = resample(images.cuda(), matrices).cpu().float()
        assert torch.allclose(ours, resample(images, matrices).float(), atol=0.05)
