"""Computes CIEDE2000 from the channels of two colors: differentiable, with finite gradients for every color.

Sharma, Wu and Dalal, "The CIEDE2000 color-difference formula: implementation notes, supplementary test data, and
mathematical observations", Color Research and Application 30(1), 2005. kL = kC = kH = 1. Comments give the symbols of
the paper. Hues are in [-pi, pi] radians, measured from green (-a*): the paper's hue minus 180 degrees.
"""

import math

import torch
from torch import Tensor

DEGREE = math.pi / 180
TINY = 1e-30
"""Added to squared chroma: keeps the slope of the square root finite for grays, without effect on results."""


def squared_ciede2000(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> Tensor:
    """Returns the square of CIEDE2000, in the broadcast shape. Rounding can make it negative.

    first, second: L*, a* and b*, float32 or float64, of shapes that broadcast.
    """
    (lightness1, a1, b1), (lightness2, a2, b2) = first, second
    stretch = 1.5 - 0.5 * _saturation(_chroma(a1, b1) / 2 + _chroma(a2, b2) / 2)  # 1 + G
    chroma1, hue1 = _polar(a1, b1, stretch)
    chroma2, hue2 = _polar(a2, b2, stretch)
    chroma, hue = torch.lerp(chroma1, chroma2, 0.5), _mean_hue(hue1, hue2)
    from_middle = ((lightness1 / 2 - 50) + lightness2 / 2).square()
    lightness_term = (lightness2 - lightness1) / (1 + 0.015 * from_middle * (20 + from_middle).rsqrt())
    chroma_term = (chroma2 - chroma1) / (1 + 0.045 * chroma)
    # The mean hue differs from each hue by half of the smaller hue difference: hence the sine.
    hue_difference = (chroma1 * chroma2).sqrt() * (hue - hue1).sin()  # half of Delta H'
    hue_term = hue_difference / (0.5 + 0.0075 * chroma * _hue_weight(hue))
    rotation = _saturation(chroma) * (60 * DEGREE * _blueness(hue)).sin()  # half of -R_T
    squares = torch.addcmul(torch.addcmul(lightness_term.square(), chroma_term, chroma_term), hue_term, hue_term)
    return torch.addcmul(squares, rotation, chroma_term * hue_term, value=-2)


def _chroma(a: Tensor, b: Tensor) -> Tensor:
    return (a * a + b * b + TINY).sqrt()


def _saturation(chroma: Tensor) -> Tensor:
    """Returns sqrt(C^7 / (C^7 + 25^7)): 0 for grays, close to 1 for saturated colors."""
    chroma = chroma.clamp(min=1e-3)  # negligible; the square root has infinite slope at 0
    cube = chroma**3
    seventh = cube * cube * chroma
    return (seventh / (seventh + 25.0**7)).sqrt()


def _polar(a: Tensor, b: Tensor, stretch: Tensor) -> tuple[Tensor, Tensor]:
    """Returns chroma and hue with a* stretched. The hue of grays is constant: it has weight 0."""
    gray = a * a + b * b < 1e-24
    chroma = torch.addcmul(b * b + TINY, stretch * stretch, a * a).sqrt()
    return chroma, torch.atan2(-torch.where(gray, 0, b), stretch * -torch.where(gray, 1, a))


def _mean_hue(hue1: Tensor, hue2: Tensor) -> Tensor:
    """Returns the mean hue along the shorter arc; the arithmetic mean of opposite hues."""
    mean = torch.lerp(hue1, hue2, 0.5)
    with torch.no_grad():  # 1 or -1, with the sign of the mean, where the hues are more than pi apart, else 0
        opposite = math.pi * (1 + 8 * torch.finfo(mean.dtype).eps)  # up to rounding
        half_turns = (hue1 - hue2).mul_(0.5 / opposite).round_().copysign_(mean)
    return mean.sub(half_turns, alpha=math.pi)


def _hue_weight(hue: Tensor) -> Tensor:
    """Returns T. The offset of 180 degrees changes the sign of the paper's odd terms."""
    weight = 1 + 0.17 * torch.cos(hue - 30 * DEGREE)
    weight = weight.add(torch.cos(2 * hue), alpha=0.24)
    weight = weight.sub(torch.cos(3 * hue + 6 * DEGREE), alpha=0.32)
    return weight.sub(torch.cos(4 * hue - 63 * DEGREE), alpha=0.20)


def _blueness(hue: Tensor) -> Tensor:
    """Returns exp(-((h' - 275 degrees) / 25 degrees)^2): 1 at blue, nearly 0 at distant hues."""
    exponent = ((hue - 95 * DEGREE) / (25 * DEGREE)).square()
    return (-exponent.clamp(max=40)).exp()  # subnormal float32 numbers are five times slower
