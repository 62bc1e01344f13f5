"""How well `time_budget` is kept: seconds of whole items, analysis to picture, against parts of what they take without
one, on the embedded model with the paper's 150 x 1 schedule (25 timesteps up to 150) at 256 px.

    OMP_NUM_THREADS=1 python benchmarks/time_budget.py --data FOLDER [--items 3]

The clock is this process's CPU time, so that other load on the machine changes nothing: what is measured is whether the
choice of steps is right. Loading is left out.
"""

import argparse
import time
from dataclasses import replace

import pandas as pd
import torch

from data.benchmark import manifest_items
from stylegallery.pipeline import StyleGallery


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the benchmark's pictures")
    parser.add_argument("--items", type=int, default=3)
    options = parser.parse_args()
    time.perf_counter = time.process_time
    method = StyleGallery.from_config("resizing=square", "store=null", "resolution=256")
    method.guidance = replace(method.guidance, steps=150, iterations=1)
    every = manifest_items("mixed60", "stylegallery", options.data)
    rows = []
    for item in every[:: len(every) // options.items][: options.items]:
        whole = None
        for part in (1.0, 0.4, 0.6, 0.8):
            method.time_budget = whole and part * whole
            start = time.process_time()
            result = method.stylize(item, torch.Generator().manual_seed(0))
            seconds = time.process_time() - start
            whole = whole or seconds
            rows.append({"item": item.id, "budget": part * whole, "seconds": seconds, "steps": result.steps})
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows).assign(ratio=lambda rows: rows.seconds / rows.budget)
    print(table.round(3).to_markdown(index=False))


if __name__ == "__main__":
    main()
