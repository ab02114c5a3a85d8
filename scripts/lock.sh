#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Writes requirements*.txt anew from requirements*.in. Pins that still fit stay: `make lock ARGS=--upgrade` lifts them
# all, ARGS='--upgrade-package ruff' one. Needs uv, or a python3 to install it with, for this one call.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What only this machine has must not get into the locks: neither packages nor the address of an index.
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV UV_INDEX UV_EXTRA_INDEX_URL UV_FIND_LINKS UV_EMIT_INDEX_URL UV_EMIT_FIND_LINKS

if ! uv=$(type -P uv); then
  tools=$(mktemp -d)
  trap 'rm -rf "$tools"' EXIT
  python3 -m venv "$tools"
  "$tools/bin/python" -m pip install --quiet --disable-pip-version-check uv
  uv=$tools/bin/uv
fi

# Wheels only: building one would need a compiler and build tools that no lock pins.
compile() {
  "$uv" pip compile --quiet --no-config --python-version 3.11 --python-platform x86_64-manylinux_2_31 \
    --only-binary :all: --generate-hashes --no-annotate --custom-compile-command 'make lock' "$@"
}

compile --override requirements-override.txt -o requirements.txt requirements.in "$@"
compile -o requirements-dev.txt requirements-dev.in "$@"
compile -o requirements-gpu.txt requirements-gpu.in "$@"
compile -o requirements-ray.txt requirements-ray.in "$@"
