#!/usr/bin/env bash
# Installs a wheel with its extra `cpu` into a fresh environment, lists the parts of that beside the
# wheel, and runs the study smoke with it, outside the repository. The constraints are the pinned
# versions.
#
#     packaging/check.sh UV WHEEL VERSION CONSTRAINTS       (make dist)
set -euo pipefail
uv=$(realpath -s "$1") wheel=$(realpath "$2") version=$3 pins=$(realpath "$4")
here=$PWD place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
unset PYTHONPATH VIRTUAL_ENV
# Constraints may not have hashes for what is installed from a file.
sed -n 's/^\([A-Za-z0-9][^ \\]*==[^\\]*\).*/\1/p' "$pins" >pins.txt
"$uv" venv --quiet --python "$(dirname "$uv")/python" fresh
"$uv" pip install --quiet --python fresh/bin/python --constraint pins.txt "motifk8s[cpu] @ file://$wheel"
said=$(fresh/bin/motifk8s --version)
[ "$said" = "$version" ] || { echo "make: the wheel says version $said, not $version" >&2; exit 1; }
name=$(basename "$wheel")
fresh/bin/python "$here/packaging/sbom.py" "$name" >"${wheel%.whl}.cdx.json"
fresh/bin/motifk8s run smoke --store results
test -s results/smoke/report.html
mkdir -p "$here/build" && rm -rf "$here/build/smoke" && mv results "$here/build/smoke" # for make docs
fresh/bin/motifk8s completion bash | bash -n
