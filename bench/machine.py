"""What the benchmarks say of the machine they ran on, and of the memory of a process."""

from __future__ import annotations

import os
import platform
import re
import resource
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from motifk8s.errors import Problem
from motifk8s.provenance import code_version, cores

# Where make bench writes.
OUT = Path(__file__).parents[1] / "docs" / "results" / "bench"
LIBRARIES = (
    "tensorflow", "tensorflow-cpu", "keras", "jax", "torch", "numpy", "scikit-learn", "h5py",
    "matplotlib",
)  # fmt: skip
# What a processor can do at once decides how fast all of this is.
VECTORS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve")


def told_in_a_line(main: Callable[[], None]) -> None:
    """Run a benchmark; what a user can mend ends it with a sentence, not with a traceback."""
    try:
        main()
    except Problem as error:
        raise SystemExit(str(error)) from error


def _field(path: str, name: str) -> str | None:
    """A field of a file of ``name: value`` lines."""
    with suppress(OSError):
        found = re.search(rf"^(?:{name})\s*:\s*(.+)$", Path(path).read_text(), re.MULTILINE)
        return found[1].strip() if found else None
    return None


def resident() -> int:
    """Resident memory of this process now, in bytes."""
    kb = _field("/proc/self/status", "VmRSS")
    return int(kb.split()[0]) * 1024 if kb else peak()


def peak() -> int:
    """Largest resident memory of this process so far, in bytes.

    Of the kernel's two records, the one that begins anew with the program: ``ru_maxrss`` keeps that
    of the process that started it.
    """
    kb = _field("/proc/self/status", "VmHWM")
    if kb:
        return int(kb.split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def pin(threads: int) -> None:
    """Keep this process to as many cores, where the system can: not every library heeds a number.

    Without it, XLA and what starts threads of its own would use all of them.
    """
    if hasattr(os, "sched_setaffinity"):
        mine = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, mine[:threads])


def processor() -> str:
    """Its model, and which vectors it knows."""
    model = _field("/proc/cpuinfo", "model name")
    if not model and sys.platform == "darwin":
        model = _said("sysctl", "-n", "machdep.cpu.brand_string")
    model = model or platform.processor() or platform.machine()
    flags = (_field("/proc/cpuinfo", "flags|Features") or "").split()
    known = [name for name in VECTORS if name in flags]
    return f"{model} ({', '.join(known)})" if known else model


def memory() -> int | None:
    """Memory of the machine in bytes."""
    with suppress(ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def system() -> str:
    """Operating system and kernel."""
    name = platform.system()
    with suppress(OSError):
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    return f"{name}, {platform.system()} {platform.release()} {platform.machine()}"


def gpus() -> list[str]:
    """NVIDIA GPUs with their driver."""
    found = _said("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
    return [f"{line.replace(', ', ', driver ')}" for line in found.splitlines()]


def _said(*command: str) -> str:
    """What a command prints; nothing where there is none."""
    with suppress(OSError, subprocess.CalledProcessError):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.strip()
    return ""


def versions(names: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """Versions of those libraries that are installed."""
    found = {}
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def describe(script: str, arguments: Sequence[str], threads: int) -> dict[str, str]:
    """What a reader needs to compare with another machine, in words."""
    size, load = memory(), os.getloadavg()[0]
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    facts = {
        "command": shlex.join(["python", f"bench/{script}", *arguments]),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "code": code_version(),
        "processor": processor(),
        "cores": f"{cores()} of {os.cpu_count()}",
        "threads": str(threads),
        "load when it began": f"{load:.1f}",
        "memory": f"{size / 2**30:.0f} GiB" if size else "",
        "GPU": "; ".join(gpus()) or "none",
        "system": system(),
        "Python": platform.python_version(),
        "Keras backend": backend,
        "libraries": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }
    return {name: value for name, value in facts.items() if value}


def markdown(facts: dict[str, str]) -> str:
    """The description as a table."""
    rows = "".join(f"| {name} | {value} |\n" for name, value in facts.items())
    return f"| machine | |\n| --- | --- |\n{rows}"
