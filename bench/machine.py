"""Describe the machine of a benchmark, and measure the memory of a process."""

from __future__ import annotations

import os
import platform
import re
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np

from motifk8s.errors import Problem
from motifk8s.provenance import code_version, cores

# The output directory of `make bench`.
OUT = Path(__file__).parents[1] / "docs" / "results" / "bench"
LIBRARIES = (
    "tensorflow", "tensorflow-cpu", "keras", "jax", "torch", "numpy", "scikit-learn", "h5py",
    "matplotlib",
)  # fmt: skip
# Vector instructions, on which the speed of all benchmarks depends.
VECTORS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve")


def run_main(main: Callable[[], None]) -> None:
    """Run a benchmark; print an error that the user can fix without a traceback."""
    try:
        main()
    except Problem as error:
        raise SystemExit(str(error)) from error


def _field(path: str, name: str) -> str | None:
    """Read a field from a file of ``name: value`` lines."""
    with suppress(OSError):
        match = re.search(rf"^(?:{name})\s*:\s*(.+)$", Path(path).read_text(), re.MULTILINE)
        return match[1].strip() if match else None
    return None


def resident() -> int:
    """Return the current resident memory of this process in bytes."""
    kb = _field("/proc/self/status", "VmRSS")
    return int(kb.split()[0]) * 1024 if kb else peak()


def peak() -> int:
    """Return the largest resident memory of this process so far, in bytes.

    VmHWM counts from the start of the program; ``ru_maxrss`` includes the process that started it.
    """
    kb = _field("/proc/self/status", "VmHWM")
    if kb:
        return int(kb.split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def product_rate() -> float:
    """Measure the rate of a product of matrices in GFLOP/s, as a limit for any training.

    The best of 20 products of two matrices of 1,024 x 1,024 float32 by NumPy, on OMP_NUM_THREADS
    threads. Takes less than a second.
    """
    a = np.full((1024, 1024), 0.5, np.float32)
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - start)
    return 2 * len(a) ** 3 / min(seconds) / 1e9


def pin(threads: int) -> None:
    """Limit this process to a number of cores, if the system supports it.

    XLA and some libraries ignore a number of threads and use all cores.
    """
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, allowed[:threads])


def processor() -> str:
    """Return the processor's model and its vector instructions."""
    model = _field("/proc/cpuinfo", "model name")
    if not model and sys.platform == "darwin":
        model = _output("sysctl", "-n", "machdep.cpu.brand_string")
    model = model or platform.processor() or platform.machine()
    flags = (_field("/proc/cpuinfo", "flags|Features") or "").split()
    known = [name for name in VECTORS if name in flags]
    return f"{model} ({', '.join(known)})" if known else model


def memory() -> int | None:
    """Return the memory of the machine in bytes."""
    with suppress(ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def system() -> str:
    """Return the operating system and the kernel."""
    name = platform.system()
    with suppress(OSError):
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    return f"{name}, {platform.system()} {platform.release()} {platform.machine()}"


def gpus() -> list[str]:
    """List the NVIDIA GPUs with their driver versions."""
    lines = _output("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
    return [line.replace(", ", ", driver ") for line in lines.splitlines()]


def _output(*command: str) -> str:
    """Return the output of a command; "" if it is missing or fails."""
    with suppress(OSError, subprocess.CalledProcessError):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.strip()
    return ""


def versions(names: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """Return the version of each library that is installed."""
    installed = {}
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed


def describe(script: str, arguments: Sequence[str], threads: int) -> dict[str, str]:
    """Return the facts that a comparison with another machine needs, by name."""
    size, load = memory(), os.getloadavg()[0]
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
        "Keras backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "libraries": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }
    return {name: value for name, value in facts.items() if value}


def markdown(facts: dict[str, str]) -> str:
    """Format the description as a Markdown table."""
    rows = "".join(f"| {name} | {value} |\n" for name, value in facts.items())
    return f"| machine | |\n| --- | --- |\n{rows}"
