"""What a record says of the machine."""

from types import SimpleNamespace

import pytest
import torch

from stylegallery import environment as computing

CONFIG = {"method": {"steps": 2}}


@pytest.mark.parametrize("device", ["cpu", "auto", "cuda:1"])
def test_record_names_what_computed(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    """Results are the same on one machine: another processor or GPU is another machine."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"NVIDIA {device}")
    monkeypatch.setattr(torch, "empty", lambda _, device: SimpleNamespace(device=torch.device(device)))  # two GPUs
    monkeypatch.setattr(computing, "versions", computing.versions.__wrapped__)  # not those found before
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    found = computing.environment({"resolution": 64, "model": {"device": device}})
    assert found["device"] == {"auto": "NVIDIA cuda", "cuda:1": "NVIDIA cuda:1"}.get(device, computing.cpu_name())
    assert (found["cuda"], found["place"]) == ("12.8", {"auto": "cuda"}.get(device, device))
    monkeypatch.setattr(torch.version, "cuda", None)
    assert computing.environment(CONFIG)["cuda"] == "none"
    assert computing.environment(CONFIG)["device"] == computing.cpu_name() != ""
