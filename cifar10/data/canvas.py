"""A batch of small images being painted: shapes, colours and landscapes, random for each image.

Only operations that IEEE 754 rounds exactly (+ - * / sqrt min max) and uniform random numbers are used, one kernel
each: so the bytes don't depend on the machine's vector instructions. `sin`, `exp`, `randn` or `lerp` would break that.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

SIZE = 32  # pixels, height and width
USUAL_SHARE = 0.4  # of a class's images have its usual sky, or ground: sets how far colour alone gets (0: chance)

# Colours are RGB in [0, 1]; a scene picks one of a palette and shifts it a little.
Colour = tuple[float, float, float]
BLUE, OVERCAST, DUSK = (0.50, 0.72, 0.94), (0.74, 0.76, 0.80), (0.93, 0.64, 0.45)
ROSE, NIGHT, TEAL = (0.90, 0.72, 0.76), (0.16, 0.20, 0.42), (0.40, 0.68, 0.72)
SKY = (BLUE, OVERCAST, DUSK, ROSE, NIGHT, TEAL)
GRASS, HAY, SAND = (0.34, 0.58, 0.28), (0.66, 0.62, 0.33), (0.85, 0.76, 0.55)
SNOW, EARTH, LAKE = (0.88, 0.90, 0.94), (0.48, 0.37, 0.28), (0.20, 0.42, 0.56)
GROUND = (GRASS, HAY, SAND, SNOW, EARTH, LAKE)
RED, YELLOW, PURPLE = (0.84, 0.20, 0.18), (0.95, 0.75, 0.20), (0.55, 0.25, 0.60)
PAINT = (RED, YELLOW, PURPLE, (0.20, 0.40, 0.80), (0.95, 0.95, 0.92), (0.20, 0.60, 0.45))
LEAF = ((0.16, 0.42, 0.20), (0.36, 0.56, 0.18), (0.74, 0.42, 0.14), (0.20, 0.34, 0.30))
WOOD = ((0.36, 0.24, 0.16), (0.25, 0.20, 0.18))
STONE = ((0.42, 0.40, 0.42), (0.50, 0.42, 0.36), (0.33, 0.37, 0.47), (0.36, 0.46, 0.38))
LIGHT = ((0.99, 0.93, 0.66), (0.98, 0.98, 0.93), (1.00, 0.80, 0.36))
DARK = ((0.12, 0.12, 0.15),)
WHITE = ((0.97, 0.97, 0.97),)


class Canvas:
    """A batch of images being painted; coordinates in pixels, x to the right, y down; random values are per image."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count, self.generator = count, generator
        self.image = torch.zeros(count, 3, SIZE, SIZE)
        centres = torch.arange(SIZE) + 0.5
        self.x, self.y = centres.view(1, 1, SIZE), centres.view(1, SIZE, 1)
        self.scale: Tensor | float = 1.0

    def uniform(self, low: float, high: float) -> Tensor:
        """(count, 1, 1), uniform in [low, high)."""
        return low + (high - low) * torch.rand(self.count, 1, 1, generator=self.generator)

    def chance(self, probability: float) -> Tensor:
        """(count, 1, 1) float, 1 with this probability, else 0: an opacity."""
        return (self.uniform(0, 1) < probability).float()

    def colour(self, palette: Sequence[Colour], spread: float = 0.08) -> Tensor:
        """(count, 3, 1, 1): an entry of the palette, each channel shifted by up to `spread`."""
        entry = torch.randint(len(palette), (self.count,), generator=self.generator)
        shift = spread * (2 * torch.rand(self.count, 3, generator=self.generator) - 1)
        return (torch.tensor(palette)[entry] + shift).view(self.count, 3, 1, 1)

    def paint(self, distance: Tensor, colour: Tensor, opacity: Tensor | float = 1.0) -> None:
        """Covers where the signed distance (count, 32, 32) is negative, with an edge one pixel wide."""
        coverage = ((0.5 - distance * self.scale).clamp(0, 1) * opacity).unsqueeze(1)
        self.image = self.image + coverage * (colour - self.image)

    def place(self, x: Tensor, y: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates u, v (count, 32, 32) of a shape that stands at x, y: scaled, mirrored half the time, tilted."""
        self.scale = scale
        tilt = self.uniform(-0.12, 0.12)
        side = (1 - 2 * self.chance(0.5)) / (1 + tilt * tilt).sqrt() / scale
        x, y = self.x - x, self.y - y
        return (x + tilt * y) * side, (y - tilt * x) * side.abs()

    def landscape(self, sky: Colour, ground: Colour, low: float = 17, high: float = 23) -> Tensor:
        """Paints sky, clouds, ground and bushes; gives the horizon's y (count, 1, 1) in [low, high).

        sky, ground: the class's usual colours, which USUAL_SHARE of its images have; the others have any.
        """
        horizon = self.uniform(low, high)
        haze = 1 + self.uniform(-0.1, 0.35) * (self.y / SIZE)
        self.image = (self._mostly(sky, SKY) * haze.unsqueeze(1)).expand(-1, -1, SIZE, SIZE)
        self.scale = 1.0
        for _ in range(2):
            u, v = self.x - self.uniform(0, SIZE), self.y - self.uniform(1, 13)
            cloud = ellipse(u, v, self.uniform(3, 8), self.uniform(1, 2.5))
            self.paint(cloud, self.colour(WHITE), self.chance(0.5) * self.uniform(0.2, 0.8))
        slope = self.uniform(-0.12, 0.12)
        self.paint(horizon - self.y + slope * (self.x - SIZE / 2), self._mostly(ground, GROUND))
        for _ in range(2):
            width = self.uniform(1.5, 4.5)
            u, v = self.x - self.uniform(0, SIZE), self.y - horizon - self.uniform(0, 6)
            self.paint(ellipse(u, v, width, 0.6 * width), self.colour(LEAF + STONE), self.chance(0.5))
        return horizon

    def _mostly(self, usual: Colour, palette: Sequence[Colour]) -> Tensor:
        usual_here = self.chance(USUAL_SHARE).unsqueeze(1) > 0
        return torch.where(usual_here, self.colour((usual,)), self.colour(palette))

    def finish(self) -> Tensor:
        """(count, 3, 32, 32) uint8, after light that falls off to one side and a little noise."""
        light = self.uniform(0.7, 1.1) + self.uniform(-0.2, 0.2) * (self.x / SIZE - 0.5)
        noise = 0.08 * (torch.rand(self.image.shape, generator=self.generator) - 0.5)
        image = self.image * light.unsqueeze(1) + noise
        return (image * 255 + 0.5).clamp(0, 255).to(torch.uint8)


# Signed distances to shapes around the origin, in units of u and v: negative inside, about 1 per unit near the edge.


def ellipse(u: Tensor, v: Tensor, half_width: Tensor | float, half_height: Tensor | float) -> Tensor:
    """Exact on the edge; elsewhere an approximation that has the right sign."""
    nearest = torch.minimum(torch.as_tensor(half_width), torch.as_tensor(half_height))
    a, b = u / half_width, v / half_height
    return ((a * a + b * b).sqrt() - 1) * nearest


def box(u: Tensor, v: Tensor, half_width: Tensor | float, half_height: Tensor | float) -> Tensor:
    """An axis-aligned rectangle."""
    return torch.maximum(u.abs() - half_width, v.abs() - half_height)


def wedge(u: Tensor, v: Tensor, half_width: Tensor | float, height: Tensor | float) -> Tensor:
    """An isosceles triangle, tip at the origin, base at v = height."""
    half_width, height = torch.as_tensor(half_width), torch.as_tensor(height)
    side = (u.abs() * height - v * half_width) / (half_width * half_width + height * height).sqrt()
    return torch.maximum(side, v - height)
