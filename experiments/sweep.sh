#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs grids, by default the MNIST panels of the paper's Figures 1 and 7:
#
#     bash experiments/sweep.sh [GRID ...] [--jobs=N] [--dry_run] [--flag=value ...]
#
# It is python -m fedprox_tff.sweep in the project's folder, from wherever it is called: --help says the rest. A GRID
# may be a file of the caller's; --results_dir and --data_dir, if they are relative, start from the project's folder.
set -euo pipefail

arguments=()
for argument in "$@"; do
  [[ $argument != -* && -f $argument ]] && argument=$(realpath -- "$argument")
  arguments+=("$argument")
done

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
python=python3
[[ -x .venv/bin/python ]] && python=.venv/bin/python
exec "$python" -m fedprox_tff.sweep ${arguments[@]+"${arguments[@]}"}
