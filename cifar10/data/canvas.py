"""Paints batches of small images: shapes, colors and landscapes, random for each image.

The bytes are the same on every machine: the code uses only uniform random numbers and operations that IEEE 754 rounds
correctly (+ - * / sqrt min max), one kernel each. `sin`, `exp`, `randn` and `lerp` differ between machines.
"""

import torch
from torch import Tensor

SIZE = 32  # pixels, height and width
TYPICAL_SHARE = 0.4  # share of a class's images with its typical sky or ground; 0 makes color uninformative

Color = tuple[float, float, float]  # RGB in [0, 1]
SKY: dict[str, Color] = {
    "blue": (0.50, 0.72, 0.94), "overcast": (0.74, 0.76, 0.80), "dusk": (0.93, 0.64, 0.45),
    "rose": (0.90, 0.72, 0.76), "night": (0.16, 0.20, 0.42), "teal": (0.40, 0.68, 0.72),
}  # fmt: skip
GROUND: dict[str, Color] = {
    "grass": (0.34, 0.58, 0.28), "hay": (0.66, 0.62, 0.33), "sand": (0.85, 0.76, 0.55),
    "snow": (0.88, 0.90, 0.94), "earth": (0.48, 0.37, 0.28), "lake": (0.20, 0.42, 0.56),
}  # fmt: skip
PALETTES: dict[str, tuple[Color, ...]] = {
    **{name: (color,) for name, color in (SKY | GROUND).items()},
    "sky": tuple(SKY.values()),
    "ground": tuple(GROUND.values()),
    "paint": ((0.84, 0.20, 0.18), (0.95, 0.75, 0.20), (0.55, 0.25, 0.60),
              (0.20, 0.40, 0.80), (0.95, 0.95, 0.92), (0.20, 0.60, 0.45)),
    "leaf": ((0.16, 0.42, 0.20), (0.36, 0.56, 0.18), (0.74, 0.42, 0.14), (0.20, 0.34, 0.30)),
    "wood": ((0.36, 0.24, 0.16), (0.25, 0.20, 0.18)),
    "stone": ((0.42, 0.40, 0.42), (0.50, 0.42, 0.36), (0.33, 0.37, 0.47), (0.36, 0.46, 0.38)),
    "light": ((0.99, 0.93, 0.66), (0.98, 0.98, 0.93), (1.00, 0.80, 0.36)),
    "dark": ((0.12, 0.12, 0.15),),
    "white": ((0.97, 0.97, 0.97),),
}  # fmt: skip


class Canvas:
    """Batch of images to paint on. Coordinates are in pixels, x to the right, y down; random values are per image."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count, self.generator = count, generator
        self.image = torch.zeros(count, 3, SIZE, SIZE)
        centers = torch.arange(SIZE) + 0.5
        self.x, self.y = centers.view(1, 1, SIZE), centers.view(1, SIZE, 1)
        self.scale: Tensor | float = 1.0

    def uniform(self, low: float, high: float) -> Tensor:
        """Returns uniform random values in [low, high), (count, 1, 1)."""
        return low + (high - low) * torch.rand(self.count, 1, 1, generator=self.generator)

    def bernoulli(self, probability: float) -> Tensor:
        """Returns random opacities, (count, 1, 1): 1 with this probability, else 0."""
        return (self.uniform(0, 1) < probability).float()

    def color(self, *palettes: str) -> Tensor:
        """Returns random colors of the palettes, (count, 3, 1, 1), each channel shifted by up to 0.08."""
        colors = torch.tensor([color for palette in palettes for color in PALETTES[palette]])
        entry = torch.randint(len(colors), (self.count,), generator=self.generator)
        shift = 0.08 * (2 * torch.rand(self.count, 3, generator=self.generator) - 1)
        return (colors[entry] + shift).view(self.count, 3, 1, 1)

    def paint(self, distance: Tensor, color: Tensor, opacity: Tensor | float = 1.0) -> None:
        """Paints where the signed distance (count, 32, 32) is negative, with an antialiased edge one pixel wide."""
        coverage = ((0.5 - distance * self.scale).clamp(0, 1) * opacity).unsqueeze(1)
        self.image = self.image + coverage * (color - self.image)

    def place(self, x: Tensor, y: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Returns local coordinates u, v (count, 32, 32) of a shape at x, y: scaled, tilted, half of them flipped."""
        self.scale = scale
        tilt = self.uniform(-0.12, 0.12)
        side = (1 - 2 * self.bernoulli(0.5)) / (1 + tilt * tilt).sqrt() / scale
        x, y = self.x - x, self.y - y
        return (x + tilt * y) * side, (y - tilt * x) * side.abs()

    def landscape(self, sky: str, ground: str, low: float = 17, high: float = 23) -> Tensor:
        """Paints sky, clouds, ground and bushes, often in typical colors. Returns the horizon's y, (count, 1, 1)."""
        horizon = self.uniform(low, high)
        haze = 1 + self.uniform(-0.1, 0.35) * (self.y / SIZE)
        self.image = (self._typical_or_any(sky, "sky") * haze.unsqueeze(1)).expand(-1, -1, SIZE, SIZE)
        self.scale = 1.0
        for _ in range(2):
            u, v = self.x - self.uniform(0, SIZE), self.y - self.uniform(1, 13)
            cloud = ellipse(u, v, self.uniform(3, 8), self.uniform(1, 2.5))
            self.paint(cloud, self.color("white"), self.bernoulli(0.5) * self.uniform(0.2, 0.8))
        slope = self.uniform(-0.12, 0.12)
        self.paint(horizon - self.y + slope * (self.x - SIZE / 2), self._typical_or_any(ground, "ground"))
        for _ in range(2):
            width = self.uniform(1.5, 4.5)
            u, v = self.x - self.uniform(0, SIZE), self.y - horizon - self.uniform(0, 6)
            self.paint(ellipse(u, v, width, 0.6 * width), self.color("leaf", "stone"), self.bernoulli(0.5))
        return horizon

    def _typical_or_any(self, typical: str, palette: str) -> Tensor:
        return torch.where(self.bernoulli(TYPICAL_SHARE).unsqueeze(1) > 0, self.color(typical), self.color(palette))

    def finish(self) -> Tensor:
        """Returns the images, (count, 3, 32, 32) uint8, with a horizontal lighting gradient and uniform noise."""
        light = self.uniform(0.7, 1.1) + self.uniform(-0.2, 0.2) * (self.x / SIZE - 0.5)
        noise = torch.rand(self.image.shape, generator=self.generator) - 0.5
        image = self.image * light.unsqueeze(1) + 0.08 * noise
        return (image * 255 + 0.5).clamp(0, 255).to(torch.uint8)


# Signed distances to shapes at the origin, in units of u and v: negative inside, slope about 1 near the edge.


def ellipse(u: Tensor, v: Tensor, half_width: Tensor | float, half_height: Tensor | float) -> Tensor:
    """Returns the distance to an ellipse: exact on the edge, elsewhere approximate with the correct sign."""
    nearest = torch.minimum(torch.as_tensor(half_width), torch.as_tensor(half_height))
    a, b = u / half_width, v / half_height
    return ((a * a + b * b).sqrt() - 1) * nearest


def box(u: Tensor, v: Tensor, half_width: Tensor | float, half_height: Tensor | float) -> Tensor:
    """Returns the distance to an axis-aligned rectangle."""
    return torch.maximum(u.abs() - half_width, v.abs() - half_height)


def wedge(u: Tensor, v: Tensor, half_width: Tensor | float, height: Tensor | float) -> Tensor:
    """Returns the distance to an isosceles triangle with its apex at the origin and its base at v = height."""
    half_width, height = torch.as_tensor(half_width), torch.as_tensor(height)
    side = (u.abs() * height - v * half_width) / (half_width * half_width + height * height).sqrt()
    return torch.maximum(side, v - height)
