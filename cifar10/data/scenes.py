"""Synthetic images of ten classes.

All classes share the palettes of their landscapes, so color is a weak cue. A shape of random position, size,
orientation and color identifies the class. The accuracies rank as in the study: prototype, MLP, CNN.
"""

import torch
from torch import Tensor

from cifar10.data.canvas import SIZE, Canvas, box, ellipse, wedge

CLASS_NAMES = ("balloon", "boat", "car", "fish", "flower", "house", "moon", "mountain", "sun", "tree")


def make_images(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Returns images (count, 3, 32, 32) uint8 and labels (count,) int64, as a pure function of (count, seed).

    Classes are shuffled and balanced to within one image. seed: below 2**32; the generator ignores higher bits.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % len(CLASS_NAMES)
    labels = labels[torch.rand(count, generator=generator).argsort(stable=True)]
    images = torch.empty(count, 3, SIZE, SIZE, dtype=torch.uint8)
    # In the order of CLASS_NAMES.
    for label, paint in enumerate((_balloon, _boat, _car, _fish, _flower, _house, _moon, _mountain, _sun, _tree)):
        positions = (labels == label).nonzero().squeeze(1)
        canvas = Canvas(len(positions), generator)
        paint(canvas)
        images[positions] = canvas.finish()
    return images, labels


def _balloon(canvas: Canvas) -> None:
    canvas.landscape("blue", "grass")
    u, v = canvas.place(canvas.uniform(12, 20), canvas.uniform(9, 14), canvas.uniform(0.85, 1.2))
    color = canvas.color("paint")
    canvas.paint(box(u.abs() - 1.5, v - 8, 0.25, 3), canvas.color("dark"))
    canvas.paint(wedge(u, 9 - v, 5.5, 9), color)
    canvas.paint(ellipse(u, v, 6, 6.2), color)
    canvas.paint(ellipse(u, v, 2.2, 6.2), canvas.color("paint"), canvas.bernoulli(0.7))
    canvas.paint(box(u, v - 11, 1.9, 1.4), canvas.color("wood"))


def _boat(canvas: Canvas) -> None:
    horizon = canvas.landscape("overcast", "lake")
    u, v = canvas.place(canvas.uniform(12, 20), horizon + canvas.uniform(0, 5), canvas.uniform(0.85, 1.2))
    canvas.paint(box(u, v + 6, 0.45, 8), canvas.color("wood"))
    sail = canvas.color("paint")
    canvas.paint(torch.maximum(wedge(u, v + 14, 7, 11), 0.8 - u), sail)
    canvas.paint(torch.maximum(wedge(u, v + 12, 5, 9), u + 0.8), sail)
    hull = torch.maximum(wedge(u, 13 - v, 11, 15), -v - 1.5)
    canvas.paint(torch.maximum(hull, v - 3), canvas.color("paint", "wood"))


def _car(canvas: Canvas) -> None:
    horizon = canvas.landscape("dusk", "earth")
    base = horizon + canvas.uniform(1, 7)
    road = box(canvas.x - SIZE / 2, canvas.y - base - 2, SIZE, canvas.uniform(2, 4))
    canvas.paint(road, canvas.color("stone"), canvas.bernoulli(0.7))
    u, v = canvas.place(canvas.uniform(12, 20), base, canvas.uniform(0.85, 1.2))
    color = canvas.color("paint")
    canvas.paint(torch.maximum(wedge(u + 1, v + 13, 8, 13), -v - 7.5), color)
    canvas.paint(torch.maximum(wedge(u + 1, v + 13, 6.5, 10), -v - 6.3), canvas.color("sky"))
    canvas.paint(box(u + 1, v + 5, 0.5, 2.5), color)
    canvas.paint(box(u, v + 1, 9, 2.4), color)
    canvas.paint(ellipse(u.abs() - 5, v - 1.6, 2.3, 2.3), canvas.color("dark"))
    canvas.paint(ellipse(u.abs() - 5, v - 1.6, 1, 1), canvas.color("white"))


def _fish(canvas: Canvas) -> None:
    canvas.landscape("teal", "sand", 26, 34)
    u, v = canvas.place(canvas.uniform(12, 20), canvas.uniform(11, 19), canvas.uniform(0.85, 1.2))
    color = canvas.color("paint")
    canvas.paint(wedge(v, u - 5, 4.5, 6), color)
    canvas.paint(wedge(u - 1, v + 6.5, 4, 5), color)
    body = ellipse(u, v, 7.5, 4)
    canvas.paint(body, color)
    canvas.paint(torch.maximum(body, (u - 0.5).abs() - 1), canvas.color("paint"), canvas.bernoulli(0.6))
    canvas.paint(ellipse(u + 4.6, v + 1, 1.3, 1.3), canvas.color("white"))
    canvas.paint(ellipse(u + 4.8, v + 1, 0.7, 0.7), canvas.color("dark"))


def _flower(canvas: Canvas) -> None:
    canvas.landscape("rose", "grass")
    u, v = canvas.place(canvas.uniform(12, 20), canvas.uniform(9, 14), canvas.uniform(0.85, 1.2))
    leaf = canvas.color("leaf")
    canvas.paint(box(u, v - 11, 0.7, 11), leaf)
    canvas.paint(ellipse(u - 3, v - 13 + 0.6 * u, 3.2, 1.3), leaf)
    petal = canvas.color("paint")
    for x, y in ((0, -4.4), (4.2, -1.4), (2.6, 3.6), (-2.6, 3.6), (-4.2, -1.4)):
        canvas.paint(ellipse(u - x, v - y, 2.7, 2.7), petal)
    canvas.paint(ellipse(u, v, 2.4, 2.4), canvas.color("light", "wood"))


def _house(canvas: Canvas) -> None:
    horizon = canvas.landscape("blue", "hay")
    u, v = canvas.place(canvas.uniform(12, 20), horizon + canvas.uniform(0, 5), canvas.uniform(0.85, 1.2))
    canvas.paint(box(u - 4, v + 13, 1.1, 3), canvas.color("stone"))
    canvas.paint(box(u, v + 4, 6.5, 5), canvas.color("paint", "stone"))
    canvas.paint(wedge(u, v + 15, 8.5, 7), canvas.color("paint", "wood"))
    canvas.paint(box(u + 3, v + 2, 1.4, 3), canvas.color("wood", "white"))
    canvas.paint(box(u - 2.5, v + 4, 1.7, 1.7), canvas.color("light", "dark"))


def _moon(canvas: Canvas) -> None:
    canvas.landscape("night", "earth")
    for _ in range(5):
        star = ellipse(canvas.x - canvas.uniform(0, SIZE), canvas.y - canvas.uniform(0, 16), 0.7, 0.7)
        canvas.paint(star, canvas.color("light"))
    u, v = canvas.place(canvas.uniform(12, 20), canvas.uniform(8, 13), canvas.uniform(0.85, 1.2))
    crescent = torch.maximum(ellipse(u, v, 6, 6), -ellipse(u - 3, v + 1, 5.2, 5.2))
    canvas.paint(crescent, canvas.color("light"))


def _mountain(canvas: Canvas) -> None:
    horizon = canvas.landscape("rose", "snow")
    for _ in range(2):
        height, ratio = canvas.uniform(9, 16), canvas.uniform(0.6, 0.95)
        u, v = canvas.place(canvas.uniform(4, 28), horizon - height + 2, canvas.uniform(0.8, 1.2))
        canvas.paint(wedge(u, v, ratio * height, height), canvas.color("stone", "leaf"))
        canvas.paint(wedge(u, v, ratio * 0.35 * height, 0.35 * height), canvas.color("white"), canvas.bernoulli(0.8))


def _sun(canvas: Canvas) -> None:
    horizon = canvas.landscape("dusk", "hay")
    u, v = canvas.place(canvas.uniform(12, 20), canvas.uniform(8, 13), canvas.uniform(0.85, 1.2))
    p, q = 0.7071 * (u + v), 0.7071 * (u - v)
    rays = torch.minimum(torch.minimum(u.abs(), v.abs()), torch.minimum(p.abs(), q.abs())) - 0.6
    color = canvas.color("light")
    canvas.paint(torch.maximum(torch.maximum(rays, ellipse(u, v, 7.5, 7.5)), -ellipse(u, v, 5, 5)), color)
    canvas.paint(ellipse(u, v, 4, 4), color)
    u, v = canvas.place(canvas.uniform(4, 28), horizon + 5, canvas.uniform(0.8, 1.3))
    canvas.paint(ellipse(u, v, 13, 8), canvas.color("ground", "leaf"))


def _tree(canvas: Canvas) -> None:
    horizon = canvas.landscape("overcast", "grass")
    u, v = canvas.place(canvas.uniform(12, 20), horizon + canvas.uniform(0, 6), canvas.uniform(0.85, 1.2))
    canvas.paint(box(u, v + 3, 1.1, 5), canvas.color("wood"))
    crown = torch.minimum(ellipse(u + 2.5, v + 9, 4.5, 4), ellipse(u - 2.5, v + 9.5, 4.2, 4.4))
    crown = torch.minimum(crown, ellipse(u, v + 12.5, 4.4, 3.8))
    fir = torch.minimum(wedge(u, v + 18, 4, 8), wedge(u, v + 13, 6, 10))
    canvas.paint(torch.where(canvas.bernoulli(0.5) > 0, fir, crown), canvas.color("leaf"))
