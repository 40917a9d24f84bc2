"""A Slurm of one node on this machine: what it needs, and how to start and stop it.

Needs Debian's slurm-wlm and munge. It has its own ports, key and folder, and runs as the user who
runs the tests.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

REQUIRED = bool(os.environ.get("MOTIFK8S_REQUIRE_SLURM"))
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "srun")
SBIN = "/usr/sbin"  # of the daemons; not on every user's PATH
# Two pretended GPUs and four CPUs: a device file is all that Slurm asks of a GPU. A job of the
# partition first stops jobs of spot, which have a minute to save and are queued again. A requeued
# job waits as long as its credential is valid.
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={folder}/munge.sock,cred_expire=5
SchedulerParameters=sched_interval=1,bf_interval=1
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 Gres=gpu:2
PartitionName=spot Nodes={host} Default=YES PriorityTier=1 GraceTime=60
PartitionName=first Nodes={host} PriorityTier=2 PreemptMode=OFF
"""


def path() -> str:
    return os.pathsep.join([os.environ["PATH"], SBIN])


def lacking() -> str:
    programs = [name for name in PROGRAMS if not shutil.which(name, path=path())]
    return f"{', '.join(programs)} not found (Debian: slurm-wlm, munge)" if programs else ""


@contextlib.contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """Run Slurm in a folder; give the environment in which its commands reach it."""
    host = socket.gethostname().partition(".")[0]
    settings = dict(host=host, folder=folder, user=getpass.getuser(), ports=free_ports(2))
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "slurm.conf").write_text(CONFIGURATION.format(**settings))
    (folder / "gres.conf").write_text("Name=gpu File=/dev/zero\nName=gpu File=/dev/full\n")
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    munged = [
        f"--key-file={key}",
        f"--socket={folder}/munge.sock",
        f"--pid-file={folder}/munged.pid",
        f"--log-file={folder}/munged.log",
        f"--seed-file={folder}/munged.seed",
    ]
    environment = {**os.environ, "PATH": path(), "SLURM_CONF": str(folder / "slurm.conf")}
    with contextlib.ExitStack() as stack:
        # munged refuses a key or a socket in a folder that others may write, such as /tmp: --force.
        stack.enter_context(daemon(["munged", "--foreground", "--force", *munged], environment))
        stack.enter_context(daemon(["slurmctld", "-D"], environment))
        stack.enter_context(daemon(["slurmd", "-D", "-N", host], environment))
        end = time.monotonic() + 60
        while slurm(environment, "sinfo", "-h", "-o", "%T", check=False).strip() != "idle":
            assert time.monotonic() < end, (folder / "slurmd.log").read_text()
            time.sleep(0.3)
        yield environment
        slurm(environment, "scancel", "--full", "--me", check=False)


def slurm(environment: dict[str, str], *command: object, check: bool = True) -> str:
    """Run a command of Slurm; return what it prints."""
    words = [str(word) for word in command]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
    assert not (check and done.returncode), f"{words}: {done.stderr}"
    return done.stdout


def free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def daemon(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    log = Path(environment["SLURM_CONF"]).with_name(f"{command[0]}.out")
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)
