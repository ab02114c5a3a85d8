# SPDX-License-Identifier: Apache-2.0
"""Time of a sweep, against starting one process a cell as shell loops do.

    python -m benchmarks.sweep_time [--rounds=20]

Nine cells of Figure 1 on digits (three methods, three shares of stragglers), two at a time either way: once through
`fedprox_tff.sweep`, whose processes import TensorFlow and compile once for many cells, and once as nine runs of
`fedprox_tff.run`. Prints a Markdown table.
"""

import argparse
import concurrent.futures
import pathlib
import subprocess
import sys
import tempfile
import time

JOBS = 2
CURVES = (['--algorithm=fedavg'], ['--mu=0'], ['--mu=1'])
STRAGGLERS = (0.0, 0.5, 0.9)
GRID = """
title = 'benchmark'
[base]
dataset = 'digits'
rounds = {rounds}
[grid]
stragglers = [0.0, 0.5, 0.9]
[[curve]]
name = 'FedAvg'
algorithm = 'fedavg'
[[curve]]
name = 'mu = 0'
mu = 0.0
[[curve]]
name = 'mu = 1'
mu = 1.0
"""


def call(module: str, *arguments: str) -> None:
  """Runs a module of this suite; what it says is shown if it fails."""
  result = subprocess.run(
    [sys.executable, '-m', module, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
  )
  if result.returncode:
    sys.exit(result.stdout + result.stderr)


def sweep(folder: pathlib.Path, rounds: int) -> None:
  """Runs the cells through the sweep."""
  grid = folder / 'grid.toml'
  grid.write_text(GRID.format(rounds=rounds))
  call('fedprox_tff.sweep', str(grid), f'--jobs={JOBS}', f'--results_dir={folder / "results"}')


def processes(folder: pathlib.Path, rounds: int) -> None:
  """Runs the cells as processes of their own."""
  common = ['--dataset=digits', f'--rounds={rounds}', f'--results_dir={folder / "results"}']
  cells = [[*curve, f'--stragglers={share}', *common] for curve in CURVES for share in STRAGGLERS]
  with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
    list(pool.map(lambda flags: call('fedprox_tff.run', *flags), cells))


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--rounds', type=int, default=20)
  rounds = parser.parse_args().rounds
  total = rounds * len(CURVES) * len(STRAGGLERS)
  print(f'{len(CURVES) * len(STRAGGLERS)} cells of {rounds} rounds on digits, {JOBS} at a time\n')
  print('| | s | rounds a second | times the sweep |\n| --- | --- | --- | --- |')
  first = None
  for name, contender in (('fedprox_tff.sweep', sweep), ('a process for each cell', processes)):
    with tempfile.TemporaryDirectory() as folder:
      start = time.perf_counter()
      contender(pathlib.Path(folder), rounds)
      elapsed = time.perf_counter() - start
    first = first or elapsed
    print(f'| {name} | {elapsed:.0f} | {total / elapsed:.1f} | {elapsed / first:.1f} |', flush=True)


if __name__ == '__main__':
  main()
