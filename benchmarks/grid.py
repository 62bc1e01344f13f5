"""How much of the latent's grid shows in pictures: python benchmarks/grid.py outputs/*/stylised.png

A decoder that makes 8 pixels of a latent cell can leave a pattern that repeats every 8 pixels. Such a pattern puts the
power of rows and columns into the frequencies 1/8, 2/8, 3/8 and 4/8 per pixel. The ratio is the power there over the
median of 12 frequencies nearby, the largest of the eight; 1.0 to 1.3 in photographs, which have no grid. The amplitude
is what exceeds the median as the root mean square of the pattern in grey levels of 255. Both are of the smoother 60 %
of a picture, where a grid would be seen first.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from stylegallery.images import read_image

CELL = 8  # pixels


def grid(grey: np.ndarray) -> tuple[float, float]:
    """Ratio and amplitude for a picture (H, W) in grey levels."""
    detail = grey - gaussian_filter(grey, 3)
    activity = gaussian_filter(np.abs(detail), 6)
    smooth = activity < np.quantile(activity, 0.6)
    ratios, powers = [], []
    for axis in (0, 1):
        cells = grey.shape[axis] // CELL
        lines = np.take(detail * smooth, range(cells * CELL), axis)
        power = (np.abs(np.fft.rfft(lines, axis=axis)) ** 2).mean(1 - axis)
        for harmonic in range(cells, cells * CELL // 2 + 1, cells):
            usual = np.median(power[max(1, harmonic - 6) : harmonic + 7])
            ratios.append(power[harmonic] / usual)
            powers.append(2 * max(0.0, power[harmonic] - usual) / (cells * CELL * smooth.mean()) ** 2)
    return max(ratios), float(np.sqrt(sum(powers)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path)
    for path in parser.parse_args().pictures:
        ratio, amplitude = grid(read_image(path)[0].mean(0).numpy() * 255)
        print(f"{path}: ratio {ratio:.2f}, amplitude {amplitude:.2f}")


if __name__ == "__main__":
    main()
