"""A sweep over many processes: a real Slurm, a Ray cluster of two nodes, processes of this machine; each with a
task killed in the middle, and in the end the same bytes as one process makes."""

import gc
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from conftest import ROOT, Gallery, paint_gallery
from omegaconf import DictConfig
from rich.console import Console

import harness
from evaluation.tables import write_tables
from harness import runs
from harness.building import build
from harness.jobs import Job
from harness.launchers.ray import Ray
from harness.launchers.shards import Launcher, Shard
from harness.launchers.submitit import Submitit
from harness.runs import run_job
from stylegallery.errors import InputError

pytestmark = pytest.mark.slow  # processes, or many runs of the whole program

ITEMS = 12


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT / "tests"), "OMP_NUM_THREADS": "1"} | more


def command(gallery: Gallery, out: Path, *overrides: str) -> list[str]:
    return [
        sys.executable, str(ROOT / "run.py"), f"hydra.searchpath=[file://{ROOT / 'tests' / 'conf'}]", "method=fake",
        "method.seconds=1.2", *gallery.overrides(), f"out={out}", *overrides,
    ]  # fmt: skip


def records(out: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in out.glob("cells/fake/*/record.json")}


def wait_for(condition: Callable[[], object], seconds: float, process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end and process.poll() is None, process.communicate(timeout=30)
        time.sleep(0.1)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    return paint_gallery(tmp_path_factory.mktemp("gallery"))


@pytest.fixture(scope="module")
def one_process(gallery: Gallery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("one") / "out"
    subprocess.run(command(gallery, out), cwd=ROOT, env=environment(), check=True, capture_output=True, timeout=300)
    return out


@cache  # those of the single process are asked for by every test
def tables(out: Path) -> dict[str, bytes]:
    write_tables(out)
    return {path.name: path.read_bytes() for path in (out / "tables").iterdir()}


def assert_same_results(out: Path, expected: Path) -> None:
    """Every record exactly once, with the pictures and the tables of the single process."""
    found, wanted = records(out), records(expected)
    assert len(wanted) == ITEMS
    assert found.keys() == wanted.keys()
    for item, record in wanted.items():
        assert found[item]["digest"] == record["digest"]
        here, there = (folder / "cells" / "fake" / item / "stylised.png" for folder in (out, expected))
        assert here.read_bytes() == there.read_bytes(), item
    assert not list(out.rglob(".partial-*"))
    assert tables(out) == tables(expected)


# --- what every process does ---


@pytest.mark.parametrize(("before", "after"), [(0, 0), (700, 10_000), (50_000, 50_000)])
def test_garbage_is_looked_for_less_often_unless_the_program_chose(before: int, after: int) -> None:
    usual = gc.get_threshold()
    try:
        gc.set_threshold(before)
        importlib.reload(harness)
        assert gc.get_threshold()[0] == after
    finally:
        gc.set_threshold(*usual)


@pytest.fixture
def debug_mode() -> Iterator[None]:
    before = torch.get_deterministic_debug_mode()
    yield
    torch.set_deterministic_debug_mode(before)


def mistaken() -> None:
    undefined  # noqa: B018, F821


def out_of_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nGPU 0 has")


@pytest.mark.parametrize(
    ("node", "says"),
    [
        ({"_target_": "fake_method.Fake", "strength": 2, "seconds": 0, "broken": [], "log": None}, "at most 1, not 2$"),
        (
            {"_target_": "fake_method.Fake", "stepz": 3},
            r"^method\.stepz is not a setting of fake_method\.Fake; it has strength",
        ),
        (
            {"_target_": "no_such.Method"},
            r"^method names no_such\.Method, which does not exist; check",
        ),
        (
            {
                "_target_": "fake_method.Fake",
                "strength": {"_target_": "test_launchers.out_of_memory"},
                "seconds": 0,
                "broken": [],
                "log": None,
            },
            r"out of memory; pass model\.dtype=bfloat16",
        ),
        (
            {"_target_": "baselines.color_transfer.ColorTransfer", "resolution": 64, "resizing": "square"},
            r"cannot be built \(missing a required argument: 'mode'\); add this setting to the config of method$",
        ),
        (
            {"_target_": "test_launchers.mistaken"},
            r"NameError at .+/test_launchers\.py:\d+: name 'undefined' is not defined\); check its settings",
        ),
    ],
)
def test_what_cannot_be_built_is_one_sentence(node: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        build(node)
    assert "\n" not in str(caught.value)


def test_a_mirror_ends_with_its_job_although_the_job_fails(
    fake_config: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, debug_mode: None
) -> None:
    job = Job.of(fake_config(f"out={tmp_path}", "method.strength=2"), "fake")
    ended: list[Job] = []
    mirror = SimpleNamespace(log=None, finish=lambda console: ended.append(job))
    monkeypatch.setattr(runs, "build", lambda node, *_, **__: build(node) if node is job.method else lambda job: mirror)
    with pytest.raises(InputError, match="strength is at most 1"):
        run_job(job, {"_target_": "a tracker"}, Console(quiet=True))
    assert ended == [job]


def test_a_task_does_what_was_asked_when_it_was_started(
    fake_config: Callable[..., DictConfig], gallery: Gallery, tmp_path: Path, debug_mode: None
) -> None:
    """Tasks wait in a queue; meanwhile the same label is started again with another limit."""

    class Later(Launcher):
        waiting: list[Shard] = []  # noqa: RUF012

        def run(self, shards: list[Shard], folder: Path, console: Console) -> Counter[str]:
            self.waiting += shards
            return Counter()

    launcher = Later(2)
    for limit in (7, 2):
        job = Job.of(fake_config(f"out={tmp_path / 'out'}", f"limit={limit}"), "fake")
        launcher.launch([job], None, Console(quiet=True))
    assert [shard()["done"] for shard in launcher.waiting] == [4, 3, 0, 0]


# --- Slurm ---


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a Slurm of one node, run by this test: munged, slurmctld and slurmd of Debian."""
    pytest.importorskip("submitit")
    programs = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
    if missing := [name for name in programs if shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin") is None]:
        pytest.skip(f"no {', '.join(missing)}: apt-get install slurm-wlm munge")
    if os.getuid() != 0:
        pytest.skip("starts the daemons of Slurm as root")
    folder, host = tmp_path_factory.mktemp("slurm"), socket.gethostname().split(".")[0]
    for parent in (folder, *folder.parents[:-1]):
        parent.chmod(parent.stat().st_mode | 0o011)  # munged wants its socket's folders to be passable
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    (folder / "slurm.conf").write_text(
        f"""ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
KillWait=1
NodeName={host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
    )
    variables = environment(SLURM_CONF=str(folder / "slurm.conf"), PATH=os.environ["PATH"] + ":/usr/sbin")
    munge = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    daemons = [
        subprocess.Popen(
            ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *munge], env=variables
        ),
        subprocess.Popen(["slurmctld", "-D"], env=variables, stderr=subprocess.DEVNULL),
        subprocess.Popen(["slurmd", "-D"], env=variables, stderr=subprocess.DEVNULL),
    ]
    try:
        for _ in range(150):
            answer = subprocess.run(["sinfo", "-h", "-o", "%T"], env=variables, capture_output=True, text=True)
            if answer.stdout.strip() == "idle":
                break
            time.sleep(0.2)
        else:
            pytest.skip(f"Slurm does not come up here: {answer.stderr or answer.stdout}")
        yield variables
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(timeout=30)


def test_slurm_with_a_job_cancelled_in_the_middle(
    slurm: dict[str, str], gallery: Gallery, one_process: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    sweep = command(
        gallery, out, "launcher=slurm", "launcher.tasks=2", "launcher.parameters.cpus_per_task=1",
        "launcher.parameters.gpus_per_node=0", "launcher.parameters.timeout_min=5",
    )  # fmt: skip
    first = subprocess.Popen(sweep, cwd=ROOT, env=slurm, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(records(out)) >= 2, 400, first)
    jobs = subprocess.run(["squeue", "-h", "-o", "%A"], env=slurm, capture_output=True, text=True).stdout.split()
    assert len(jobs) == 2
    subprocess.run(["scancel", jobs[0]], env=slurm, check=True)
    output, errors = first.communicate(timeout=300)
    assert first.returncode == 1, (output, errors)
    assert "did not end" in output
    assert 2 <= len(records(out)) < ITEMS
    kept = {path: path.stat().st_mtime_ns for path in out.glob("cells/fake/*/record.json")}
    again = subprocess.run(sweep, cwd=ROOT, env=slurm, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stdout + again.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # what was done is not done again
    assert_same_results(out, one_process)


# --- processes of this machine ---


def test_local_processes_with_one_killed(gallery: Gallery, one_process: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    out = tmp_path / "out"
    sweep = command(gallery, out, "launcher=local", "launcher.tasks=2")
    cpu = environment(CUDA_VISIBLE_DEVICES="")
    first = subprocess.Popen(sweep, cwd=ROOT, env=cpu, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(records(out)) >= 2, 400, first)
    holder = next(iter(out.glob(".locks/fake/*.lock"))).read_text().split()
    os.kill(int(holder[1]), signal.SIGKILL)
    output, errors = first.communicate(timeout=300)
    assert first.returncode == 1, (output, errors)
    assert "did not end" in output
    again = subprocess.run(sweep, cwd=ROOT, env=cpu, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stdout + again.stderr
    assert_same_results(out, one_process)


def shard(label: str, number: str) -> Shard:
    return Shard("out", label, None, {}, number, None, None)


def test_tasks_share_the_gpus_that_were_named(tmp_path: Path) -> None:
    pytest.importorskip("submitit")

    class Seeing:  # a shard that its process need not import PyTorch for
        def __call__(self) -> dict[str, int]:
            return {f"GPU {__import__('os').environ['CUDA_VISIBLE_DEVICES']}": 1}

    shards: list[Any] = [Seeing() for _ in range(3)]
    seen = Submitit("local", 3, {"timeout_min": 5}, [4, 7]).run(shards, tmp_path, Console(quiet=True))
    assert seen == {"GPU 4": 2, "GPU 7": 1}
    assert len(list(tmp_path.iterdir())) == 1  # the start, with its jobs and their logs


def test_gpus_of_this_machine_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(InputError, match=r"pass 'launcher\.gpus=\[0\]', or set CUDA_VISIBLE_DEVICES= to use none"):
        Submitit("local", 1, {})
    assert Submitit("local", 1, {}, [0]).tasks == Submitit("slurm", 1, {}).tasks == 1


def test_tasks_that_cannot_be_started_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were started before are ended: they would go on without anybody who waits for them."""
    submitit = pytest.importorskip("submitit")
    started: list[SimpleNamespace] = []
    ended: list[bool] = []

    def submit(self: object, task: Shard) -> SimpleNamespace:
        if started:
            raise submitit.core.utils.FailedJobError("sbatch: error: QOSMaxSubmitJobPerUserLimit\nBatch job failed")
        started.append(SimpleNamespace(cancel=lambda check: ended.append(check)))
        return started[0]

    with pytest.raises(InputError, match=r"^launcher=local could not start its tasks \(.*'xx.*\); check"):
        Submitit("local", 1, {"timeout_min": "x"}).run([shard("a", "0/1")], tmp_path, Console(quiet=True))
    monkeypatch.setattr(submitit.LocalExecutor, "submit", submit)
    with pytest.raises(InputError, match=r"\(sbatch: error: QOSMaxSubmitJobPerUserLimit\); check"):
        Submitit("local", 2, {}).run([shard("a", "0/2"), shard("a", "1/2")], tmp_path, Console(quiet=True))
    assert ended == [False]


def test_runs_on_this_machine_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs and three runs are two processes at a time, each on its GPU, not six."""
    submitit = pytest.importorskip("submitit")
    events: list[str] = []
    folders: list[Path] = []

    class Done:
        job_id = "1"

        def __init__(self, shard: Shard) -> None:
            self.shard, self.paths = shard, SimpleNamespace(result_pickle=tmp_path)

        def result(self) -> dict[str, int]:
            events.append(f"end {self.shard.label} {self.shard.shard}")
            return {"done": 1}

    class Executor:
        def __init__(self, folder: Path) -> None:
            self.gpu = -1
            folders.append(folder)

        def update_parameters(self, visible_gpus: list[int], **_: object) -> None:
            self.gpu = visible_gpus[0]

        def submit(self, shard: Shard) -> Done:
            events.append(f"start {shard.label} {shard.shard} on {self.gpu}")
            return Done(shard)

    monkeypatch.setattr(submitit, "LocalExecutor", Executor)
    shards = [shard(label, f"{n}/2") for label in "abc" for n in (0, 1)]
    launcher = Submitit("local", 1, {}, [4, 7])
    assert launcher.run(shards, tmp_path, Console(quiet=True)) == {"done": 6}
    expected = [
        line
        for label in "abc"
        for line in (f"start {label} 0/2 on 4", f"start {label} 1/2 on 7", f"end {label} 0/2", f"end {label} 1/2")
    ]
    assert events == expected
    launcher.run(shards, tmp_path, Console(quiet=True))
    first, again = folders  # a process with the number of an older one does not find that one's result
    assert first != again


@pytest.mark.parametrize("error", [ConnectionError("nobody answers"), Exception("The node timed out.\nSee logs.")])
def test_ray_that_does_not_come_up_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def init(**_: object) -> None:
        raise error

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    with pytest.raises(InputError, match=r"^no Ray cluster at auto \(.*\); start one with: ray start --head$"):
        Ray(1, "auto", 0, 1, 0).run([], tmp_path, Console(quiet=True))


def test_without_slurm_the_message_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    with pytest.raises(InputError, match="pass launcher=local"):
        Submitit("slurm", 1, {}).run([shard("a", "0/1")], tmp_path, Console(quiet=True))


# --- Ray ---


def test_a_ray_cluster_of_two_nodes_with_one_killed(gallery: Gallery, one_process: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    environment_before = dict(os.environ)
    os.environ.update(environment(RAY_DEDUP_LOGS="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0"))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0, "include_dashboard": False})
    try:
        worker = cluster.add_node(num_cpus=1, num_gpus=0)
        cluster.wait_for_nodes()
        out = tmp_path / "out"
        sweep = command(
            gallery, out, "launcher=ray", f"launcher.address={cluster.address}", "launcher.tasks=2",
            "launcher.num_gpus=0",
        )  # fmt: skip
        process = subprocess.Popen(
            sweep, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        wait_for(lambda: len(records(out)) >= 2, 400, process)
        cluster.remove_node(worker, allow_graceful=False)
        output, errors = process.communicate(timeout=400)
        assert process.returncode == 0, (output, errors)  # Ray itself starts the lost task again
        assert_same_results(out, one_process)
    finally:
        cluster.shutdown()
        os.environ.clear()
        os.environ.update(environment_before)


@pytest.mark.parametrize("cluster", ["local", "slurm"])
def test_sigterm_stops_the_processes_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: str
) -> None:
    """Tasks of Slurm go on: their queue knows them."""
    cancelled: list[bool] = []
    job = SimpleNamespace(job_id=1, cancel=lambda check: cancelled.append(check))
    executor = SimpleNamespace(update_parameters=lambda **_: None, submit=lambda _: job)
    engine = Submitit("local", 1, {}, [0])
    monkeypatch.setattr(engine, "cluster", cluster)
    monkeypatch.setattr(engine, "wait", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        engine.run_together(executor, [shard("fake", "0/1")], tmp_path, Console(quiet=True))
    assert ended.value.code == 128 + signal.SIGTERM
    assert cancelled == ([False] if cluster == "local" else [])
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("interrupts", [signal.default_int_handler, signal.SIG_IGN])
def test_sigterm_reaches_real_tasks(tmp_path: Path, interrupts: Any) -> None:
    """Also where a script started run.py in the background, which then ignores SIGINT, with all that it starts."""
    pytest.importorskip("submitit")
    place = str(tmp_path / "process")

    class Sleeping:  # a shard that its process need not import PyTorch for
        def __call__(self) -> dict[str, int]:
            __import__("pathlib").Path(place).write_text(str(__import__("os").getpid()))
            __import__("time").sleep(120)
            return {}

    def stop() -> None:
        while not Path(place).exists() or not Path(place).read_text():
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)

    shards: list[Any] = [Sleeping()]
    before = signal.signal(signal.SIGINT, interrupts)
    try:
        threading.Thread(target=stop, daemon=True).start()
        with pytest.raises(SystemExit):
            Submitit("local", 1, {"timeout_min": 5}, [0]).run(shards, tmp_path / "jobs", Console(quiet=True))
        assert signal.getsignal(signal.SIGINT) is interrupts
    finally:
        signal.signal(signal.SIGINT, before)
    process = int(Path(place).read_text())
    for _ in range(100):
        if not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    os.kill(process, signal.SIGKILL)
    pytest.fail("the task goes on")


def test_sigterm_between_two_submissions_stops_the_first(tmp_path: Path) -> None:
    cancelled: list[int] = []

    def submit(task: object) -> SimpleNamespace:
        if started := len(list(tmp_path.iterdir())):
            os.kill(os.getpid(), signal.SIGTERM)
        (tmp_path / str(started)).touch()
        return SimpleNamespace(job_id=started, cancel=lambda check: cancelled.append(started))

    executor = SimpleNamespace(update_parameters=lambda **_: None, submit=submit)
    with pytest.raises(SystemExit):
        Submitit("local", 2, {}, [0, 1]).run_together(
            executor, [shard("fake", "0/2"), shard("fake", "1/2")], tmp_path, Console(quiet=True)
        )
    assert cancelled == [0]
