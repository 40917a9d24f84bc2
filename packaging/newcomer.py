"""Follow README.md word by word on a plain Debian, with a clock.

    python packaging/newcomer.py [IMAGE] [OPTION OF docker run]...

IMAGE is a Debian that has little more than apt: by default debian:bookworm-slim. The last commit is
cloned into a container of it. There, one shell runs the commands of the page in their order, until
one fails. At the end, a table has the seconds of each: by the clock, and on CPUs.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Beginnings of commands, and sections, that are not run, and why.
NOT_RUN = {
    "make study STUDY=koo2019-synthetic": "takes hours",
    "## Slurm": "needs Slurm; tests/system runs the script",
    "## Kubernetes": "needs a cluster and a registry; tests/system runs these steps",
}
# What the page leaves to its reader, just before the command that begins so: to follow a sentence,
# or to have files of these names.
READER = {
    "apt install": "export DEBIAN_FRONTEND=noninteractive; apt-get update --quiet=2\n"
    'apt() { apt-get --quiet=2 --yes "$@"; }',
    "make dist": "apt install git",
    "motifk8s import fasta": """python - <<'END'
import random
dice = random.Random(1)
for name, motif in {"srf": "CCATATAAGG", "yy1": "CAAGATGGCGGC"}.items():
    with open(f"{name}.fa", "w") as file:
        for n in range(500):
            around = "".join(dice.choices("ACGT", k=101 - len(motif)))
            file.write(f">{n}\\n{around[:40]}{motif}{around[40:]}\\n")
END""",
    "motifk8s filters": "cp $(find store/own -name model.keras | head -n 1) model.keras; "
    "cp own.h5 data.h5",
    "motifk8s tomtom": "cp $(find filters -name '*.meme' | head -n 1) query.meme",
    "python -": "cp srf.fa test.fa",
}
SHELL = r"""
set -euo pipefail
exec 2>&1 # one stream, so that each time follows its command
cd /root/motifk8s
TIMEFORMAT='== %0R s, %0U s of CPU'
step() {
  printf '\n$ %s\n' "$1"
  time eval "$1"
}
"""
TIME = re.compile(r"== (\d+) s, (\d+) s of CPU")


def commands(page: str) -> Iterator[str]:
    """Yield the commands of the page: how to install Python, lines of shell blocks, programs."""
    yield from re.findall(r"`(apt install [^`]+)`", page)
    found = re.finditer(r"^(## [^\n]+)|^```(sh|python)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    section = ""
    for heading, language, code in (match.groups() for match in found):
        section = heading or section
        if section in NOT_RUN or not code:
            continue
        if language == "python":
            yield f"python - <<'END'\n{code}END"
            continue
        for line in code.replace("\\\n", " ").splitlines():
            command = re.sub(r" +", " ", re.sub(r"\s+# .*", "", line))
            if not command.startswith(tuple(NOT_RUN)):
                yield command


def script(page: str) -> str:
    """Return the program that the container's bash runs."""
    lines = [SHELL]
    for command in commands(page):
        lines += [does for start, does in READER.items() if command.startswith(start)]
        lines.append("step " + "'" + command.replace("'", r"'\''") + "'")
    return "\n".join(lines) + "\n"


def follow(image: str, options: list[str]) -> None:
    """Run the page's commands in a container, and print their output and a table of seconds."""
    page = script((ROOT / "README.md").read_text(encoding="utf-8"))
    create = ["docker", "create", "--init", "--interactive", *options, image, "bash"]
    container = subprocess.check_output(create, text=True).strip()
    seconds: list[str] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            clone = ["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), f"{folder}/motifk8s"]
            subprocess.run(clone, check=True)
            copy = ["docker", "cp", "--quiet", f"{folder}/motifk8s", f"{container}:/root/motifk8s"]
            subprocess.run(copy, check=True)
        # bash reads the program from a pipe, which the commands do not get: they read nothing.
        run = ["docker", "start", "--attach", "--interactive", container]
        with subprocess.Popen(
            run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as bash:
            assert bash.stdin and bash.stdout
            bash.stdin.write("{\n" + page + "exit; } </dev/null\n")
            bash.stdin.close()
            for line in bash.stdout:
                print(line, end="", flush=True)
                if line.startswith("$ "):
                    command = line[2:].strip()
                elif time := TIME.match(line):
                    seconds.append(f"{time[1]:>8} {time[2]:>8}  {command}")
    finally:
        subprocess.run(["docker", "rm", "--force", container], check=True, capture_output=True)
    print("\n seconds      CPU  command", *seconds, sep="\n")
    if bash.returncode:
        raise SystemExit(f"newcomer: failed after {len(seconds)} commands; see the output above")


if __name__ == "__main__":
    follow(sys.argv[1] if len(sys.argv) > 1 else "debian:bookworm-slim", sys.argv[2:])
