"""What the second annotation of the regional scores is worth (evaluation/independent.py), by the labels of data/masks.

    python -m benchmarks.annotator --data FOLDER

Regions that it finds by itself: their adjusted Rand index with the labels. Labelled regions that it matches: how many
take their own kind where the other picture has it, one pair of pictures at a time, as benchmarks/matching.py asks of
stage 2.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.metrics import adjusted_rand_score

from benchmarks.matching import MASKS, Named, hits, kinds_on_grid, labelled_pictures, told
from evaluation.independent import SIDE, IndependentAnnotator, describe, segment
from stylegallery.images import read_image, resize
from stylegallery.matching import RegionDescriptors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with content/ and style/")
    args = parser.parse_args()
    encoder, found = IndependentAnnotator().encoder, []
    indices: dict[bool, list[float]] = {True: [], False: []}
    for mask, picture in labelled_pictures(args.data):
        image = resize(read_image(picture), SIDE, "keep", 1)
        tokens = encoder(image)
        labels, kinds = kinds_on_grid(mask, (image.shape[-2], image.shape[-1]))
        features = describe(labels, tokens)
        circles = np.zeros((len(kinds), 3))
        photo = mask.parent == MASKS
        found.append((photo, (Named(mask.stem, kinds), RegionDescriptors(features, features, circles))))
        indices[photo].append(adjusted_rand_score(labels.flatten(), segment(image, tokens).flatten()))
    contents, paintings = ([pair for photo, pair in found if photo is wanted] for wanted in (True, False))
    for name, references, photo in (("photos", contents, True), ("paintings", paintings, False)):
        own_kind = told(hits(contents, references, (0, 1, 0)))
        print(f"{name:10s} adjusted Rand index {np.mean(indices[photo]):.2f}; own kind {own_kind}")


if __name__ == "__main__":
    main()
