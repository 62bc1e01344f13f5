"""What a record says of the machine."""

import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Pictures, paint
from PIL import Image

from data.custom import custom_item
from harness import environment as computing
from harness import provenance, result_files
from harness.folder import prepare_folder
from harness.provenance import code_digest, weights_digest, weights_settings, with_absolute_paths, without_places
from harness.record import read_record
from harness.request import Request
from harness.result_files import write_result
from stylegallery.contract import Item, MatchConstraints, Stylization
from stylegallery.errors import InputError
from stylegallery.images import read_image, to_pixels
from stylegallery.settings import Weights

CONFIG = {"method": {"steps": 2}}


@pytest.mark.parametrize("device", ["cpu", "auto", "cuda:1"])
def test_record_names_what_computed(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    """Results are the same on one machine: another processor or GPU is another machine."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"NVIDIA {device}")
    monkeypatch.setattr(torch, "empty", lambda _, device: SimpleNamespace(device=torch.device(device)))  # two GPUs
    found = computing.environment({"resolution": 64, "model": {"device": device}})
    assert found["device"] == {"auto": "NVIDIA cuda", "cuda:1": "NVIDIA cuda:1"}.get(device, computing.cpu_name())
    assert found["cuda"] == (torch.version.cuda or "none")
    assert computing.environment(CONFIG)["device"] == computing.cpu_name() != ""
