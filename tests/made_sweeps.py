"""Sweeps as run.py and evaluation.score leave them, from scores that a test names."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from conftest import paint, result_record
from omegaconf import OmegaConf

from data.benchmark import load_items
from evaluation.registry import metric_info
from stylegallery.provenance import file_digest

N = 12
STYLE, STRUCTURE, REGIONAL = "style_blocks_efficientnet", "structure_efficientnet", "regional_style_efficientnet"
MISSING = "missing: python -m stylegallery.weights fetch lpips_alex"
STEP = np.arange(N) / 1000  # differences of distinct size: Wilcoxon's test is exact
Scores = dict[str, Sequence[float]]
CALIBRATION: dict[str, Scores] = {
    "identity": {STYLE: [0.2] * N, STRUCTURE: [0.0] * N, REGIONAL: [0.3] * N},
    "reference_copy": {STYLE: [1.0] * N, STRUCTURE: [0.5] * N, REGIONAL: [0.9] * N},
}


def data_of(manifest: str) -> dict[str, Any]:
    return {"_target_": "data.benchmark.manifest_items", "manifest": manifest, "files": "stylegallery"}


def ids(manifest: str) -> list[str]:
    return [item.id for item in load_items(data_of(manifest), check=False)[:N]]


class Maker:
    """Writes sweeps as run.py and evaluation.score leave them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.content, self.reference = paint(root / "content.png", 1), paint(root / "reference.png", 2)
        self.result = paint(root / "result.png", 3)

    def content_of(self, item: str) -> Path:
        """A content of its own for every item: nothing resembles anything."""
        path = self.root / "contents" / f"{item}.png"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(self.content.read_bytes() + item.encode())
        return path

    def label(
        self, out: Path, manifest: str, label: str, scores: Scores | None, seed: int = 0,
        method: Mapping[str, Any] | None = None, items: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        """A label with its scores in the order of the items; None: frozen settings only."""
        target = f"baselines.{re.sub(r'[^a-z0-9_]', '_', label)}.Fake"
        method = {"_target_": target, "model": {"path": "embedded"}} if method is None else method
        frozen = {"label": label, "limit": N, "seed": seed, "data": data_of(manifest), "method": dict(method)}
        (out / "config").mkdir(parents=True, exist_ok=True)
        (out / "config" / f"{label}.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(frozen)))
        made_of = {}
        for index, item in enumerate((items or ids(manifest)) if scores is not None else ()):
            folder = out / "cells" / label / item
            folder.mkdir(parents=True)
            shutil.copyfile(self.result, folder / "stylised.png")
            content = self.content_of(item)
            inputs = {
                "content": {"path": str(content), "sha256": file_digest(content)},
                "reference 1": {"path": str(self.reference), "sha256": file_digest(self.reference)},
            }
            record = result_record(
                folder, seed=seed, config=method, inputs=inputs, seconds={"regions": 1.0, "guidance": 2.0 + index},
                peak_memory_mib=100.0 + index, environment={"torch": "9.9"},
            )  # fmt: skip
            rows = {
                name: {"value": v[index], "version": metric_info(name).version, "reason": None}
                | ({"annotation": "d"} if metric_info(name).kind == "regional" else {})
                for name, v in (scores or {}).items()
            }
            rows["lpips_alex"] = {"value": None, "version": 1, "reason": MISSING}
            made_of[item] = record.depends_on(folder)
            about = {"pictures": made_of[item], "size": None}
            (folder / "scores.json").write_text(json.dumps({"metrics": rows, **about}))
        if scores is not None:
            fid = {"identity": 30.0, "reference_copy": 5.0}.get(label, 10.0)
            sets = {
                "fid_efficientnet": {"value": fid, "version": metric_info("fid_efficientnet").version, "reason": None}
            }
            about = {"pictures": made_of, "size": None, "n": N, "items": "all"}
            (out / "cells" / label / "sets.json").write_text(json.dumps({"metrics": sets, **about}))

    def sweep(self, name: str, manifest: str, labels: Mapping[str, Scores | None]) -> Path:
        for label, scores in {**CALIBRATION, **labels}.items():
            self.label(self.root / name, manifest, label, scores)
        return self.root / name


def listed(values: np.ndarray) -> list[float]:
    return [float(value) for value in values]


def table1_of(make: Maker) -> Path:
    """StyleGallery: style above styleid and below latent_adain on every item, above and below gatys by turns."""
    base, signs = 0.6 + 0 * STEP, np.where(np.arange(N) % 2, 1, -1)
    ours = {STYLE: listed(base), STRUCTURE: listed(0.10 + STEP), REGIONAL: listed(base)}
    make_style = {
        "styleid": {STYLE: listed(base - 0.1 - STEP), STRUCTURE: listed(0.2 + 3 * STEP)},
        "latent_adain": {STYLE: listed(base + 0.1 + STEP)},
        "gatys": {STYLE: listed(base + signs * (0.1 + STEP))},
        "styleshot": None,
    }
    out = make.sweep("one", "stylegallery60", {"stylegallery": ours, **make_style})
    frozen = OmegaConf.load(out / "config" / "styleshot.yaml")
    frozen.method = {"_target_": "baselines.styleshot.StyleShot", "base": "sd15", "path": "styleshot"}
    (out / "config" / "styleshot.yaml").write_text(OmegaConf.to_yaml(frozen))
    return out
