"""How much of the latent's grid shows in pictures: python benchmarks/grid.py outputs/*/stylised.png

A decoder that makes 8 pixels of a latent cell can leave a pattern that repeats every 8 pixels, whose power lies at the
frequencies 1/8, 2/8, 3/8 and 4/8 per pixel. Two figures of the smoother 60 % of a picture, where a grid would be seen
first: the ratio of the power there to the median of the six frequencies on either side, the largest of rows and
columns; and the amplitude of what exceeds the median, as root mean square in grey levels of 255. Texture has some power
at any period, so the mean amplitude at 7 and 9 pixels, which is not a grid's, stands beside it.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from stylegallery.images import read_image

CELL = 8  # pixels


def grid(grey: np.ndarray, cell: int = CELL) -> tuple[float, float]:
    """Ratio and amplitude for a picture (H, W) in grey levels, of 8 cells or more on either side."""
    detail = grey - gaussian_filter(grey, 3)
    activity = gaussian_filter(np.abs(detail), 6)
    smooth = activity <= np.quantile(activity, 0.6)
    ratios, squares = [], []
    for axis in (0, 1):
        length = grey.shape[axis] // cell * cell
        lines = np.take(detail * smooth, range(length), axis)
        seen = (np.take(smooth, range(length), axis).mean(axis) ** 2).mean()  # the mask takes power away
        power = (np.abs(np.fft.rfft(lines, axis=axis)) ** 2).mean(1 - axis) / (length**2 * seen)
        for harmonic in range(length // cell, length // 2 + 1, length // cell):
            near = np.r_[power[max(1, harmonic - 6) : harmonic], power[harmonic + 1 : harmonic + 7]]
            usual = np.median(near)
            ratios.append(power[harmonic] / usual if usual else 1.0)
            sides = 1 if 2 * harmonic == length else 2  # of the spectrum; a real signal has the highest frequency once
            squares.append(sides * max(0.0, power[harmonic] - usual))
    return float(max(ratios)), float(np.sqrt(sum(squares)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path)
    found = []
    for path in parser.parse_args().pictures:
        grey = read_image(path)[0].mean(0).numpy() * 255
        ratio, amplitude = grid(grey)
        other = (grid(grey, CELL - 1)[1] + grid(grey, CELL + 1)[1]) / 2
        found.append((ratio, amplitude, other))
        print(f"{path}: ratio {ratio:.2f}, amplitude {amplitude:.2f}, at other periods {other:.2f}")
    print("median: ratio {:.2f}, amplitude {:.2f}, at other periods {:.2f}".format(*np.median(found, axis=0)))


if __name__ == "__main__":
    main()
