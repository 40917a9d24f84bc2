#!/usr/bin/env bash
# Installs the pinned packages of a file, and the working tree, into .venv. make calls it.
#
#     packaging/install.sh requirements/dev.txt
#
# uv does in seconds what takes pip minutes. pip does it where uv cannot: uv has no wheel for this
# machine, it fails, or pip's settings name a mirror or a proxy, which uv does not read.
set -euo pipefail
bin=.venv/bin
pip=("$bin/python" -m pip --disable-pip-version-check)

with_uv() {
  ! "${pip[@]}" config list | grep -E '(index.*|proxy)=' >/dev/null || return
  # The pinned version of uv, with its hashes.
  sed -n '/^uv==/,/[^\\]$/p' requirements/dev.txt >.venv/uv.txt
  "${pip[@]}" install --quiet --only-binary :all: --require-hashes -r .venv/uv.txt || return
  "$bin/uv" pip install --quiet --python "$bin/python" "$@"
}

install() { # resolves nothing: every file lists all it needs
  with_uv --no-deps "$@" || "${pip[@]}" install --quiet --no-deps "$@"
}

install --require-hashes -r "$1"
install --no-build-isolation --editable .
