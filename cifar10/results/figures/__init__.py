"""Figures: arrays in, a matplotlib Figure out. Nothing is shown or saved here, no display is needed."""

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8C6D31")
"""For lines and points: told apart with any colour vision, on white and on black (Okabe and Ito, "Color universal
design", 2008, but their yellow and black)."""
