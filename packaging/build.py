"""Build the sdist and the wheel twice, compare all their bits, and keep them in dist/.

``make dist`` runs it. It builds from a copy of the files that git tracks, so stray files of the
working tree stay out. All times are SOURCE_DATE_EPOCH, or else the time of the last commit. The
wheel is built from the sdist. Equal bits need equal versions of Python, zlib and the build tools:
requirements/dev.txt pins the tools.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"


def git(*args: str) -> str:
    """Return the output of git."""
    command = ["git", "-C", str(ROOT), *args]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def copy_tracked(to: Path) -> None:
    """Copy the tracked files, with the modes that git knows."""
    for name in git("ls-files", "-z").split("\0")[:-1]:
        source, target = ROOT / name, to / name
        if source.is_file():  # a file that was deleted and not committed is still listed
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            target.chmod(0o755 if os.access(source, os.X_OK) else 0o644)


def without_traces(sdist: Path, epoch: int) -> None:
    """Rewrite an sdist in fixed order, without times and users, which setuptools keeps."""
    packed = io.BytesIO()
    with (
        tarfile.open(sdist) as old,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            plain = tarfile.TarInfo(member.name)
            plain.type, plain.size, plain.mtime = member.type, member.size, epoch
            plain.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            new.addfile(plain, old.extractfile(member))
    with sdist.open("wb") as file, gzip.GzipFile("", "wb", 9, file, epoch) as zipped:
        zipped.write(packed.getvalue())


def build(folder: Path, epoch: int) -> dict[str, bytes]:
    """Build in a new copy of the sources; return the content of each file by its name."""
    copy_tracked(folder / "source")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist")]
    done = subprocess.run(
        [*command, str(folder / "source")],
        capture_output=True,
        text=True,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    [sdist] = (folder / "dist").glob("*.tar.gz")
    without_traces(sdist, epoch)
    return {path.name: path.read_bytes() for path in sorted((folder / "dist").iterdir())}


def main() -> None:
    """Build, compare, keep."""
    os.umask(0o022)  # wheels keep the modes of files
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct"))
    builds = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            builds.append(build(Path(folder), epoch))
    if builds[0] != builds[1]:
        raise SystemExit("make: two builds of the same files differ")
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    for name, content in builds[0].items():
        (DIST / name).write_bytes(content)
        print(f"{hashlib.sha256(content).hexdigest()}  dist/{name}")


if __name__ == "__main__":
    main()
