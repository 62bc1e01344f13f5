"""Jobs: which items, under which label, of which code."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from harness.jobs import Job, parse_shard
from stylegallery.errors import InputError
from stylegallery.provenance import code_digest, sources_digest

Compose = Callable[..., DictConfig]


@pytest.mark.parametrize("shards", [1, 2, 5, 12, 20])
def test_shards_share_out_everything_once(job: Job, shards: int) -> None:
    parts = [job.items[parse_shard(f"{k}/{shards}")] for k in range(shards)]
    assert Counter(item.id for part in parts for item in part) == Counter(item.id for item in job.items)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("shard", ["1/1", "4/4", "a/b", "1", "-1/2", "0/0"])
def test_bad_shard(shard: str) -> None:
    with pytest.raises(InputError, match="pass k/n with k from 0 to n-1"):
        parse_shard(shard)


def test_code_is_that_of_the_making_of_a_job(
    fake_config: Compose, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edit while the first of several jobs runs is not what the last one's records name."""
    monkeypatch.setattr("stylegallery.provenance.ROOT", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text("def mine(strength, seconds, broken, log): ...")
    job = Job.of(fake_config(f"out={out}", "method._target_=mine.mine"), "mine")
    (tmp_path / "mine.py").write_text("new = 1")
    old = code_digest(job.method)
    sources_digest.cache_clear()
    assert code_digest(job.method) != old


@pytest.mark.parametrize("label", ["a/b", "", "..\\x", "a b", "..", "."])
def test_bad_label(fake_config: Compose, out: Path, label: str) -> None:
    with pytest.raises(InputError, match="label consists of"):
        Job.of(fake_config(f"out={out}"), label)


@pytest.mark.parametrize("limit", ["0", "-1", "all"])
def test_bad_limit(fake_config: Compose, out: Path, limit: str) -> None:
    with pytest.raises(InputError, match=r"^limit is .*; it should be"):
        Job.of(fake_config(f"out={out}", f"limit={limit}"), "fake")
