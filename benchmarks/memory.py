# SPDX-License-Identifier: Apache-2.0
"""Memory over a long run, in both runtimes: does it stay where it is?

    python -m benchmarks.memory [--rounds=2000] [--output=docs/figures/memory.png]

FedAvg with 90 % stragglers on digits, so that the cohort's local work differs from round to round, through
`python -m fedprox_tff.run`, once in process and once with TFF's worker, at the same time. Reads the resident memory of
the process and of the worker from metrics.csv. Prints a Markdown table, whose last row is the memory after the last
round over that after round 250, by when all sizes of clients have been met, and draws the figure.
"""

import argparse
import csv
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from benchmarks._timing import print_table

ROOT = pathlib.Path(__file__).resolve().parents[1]
FLAGS = ('--dataset=digits', '--algorithm=fedavg', '--stragglers=0.9', '--rounds_per_evaluation=50')
SERIES = {  # what is plotted: the runtime and the column of metrics.csv
  'in process': ('in_process', 'memory/process_mb'),
  "process, beside TFF's worker": ('worker', 'memory/process_mb'),
  "TFF's worker": ('worker', 'memory/worker_mb'),
}
SETTLED = 250  # the round from which on memory is expected to stay


def start(runtime: str, rounds: int, folder: str) -> subprocess.Popen:
  """Starts a run."""
  flags = [*FLAGS, f'--runtime={runtime}', f'--rounds={rounds}', f'--results_dir={folder}', f'--name={runtime}']
  command = [sys.executable, '-m', 'fedprox_tff.run', *flags]
  with (pathlib.Path(folder) / f'{runtime}.txt').open('w') as log:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)


def measure(rounds: int) -> dict[str, np.ndarray]:
  """Trains in both runtimes and returns MiB by round, from round 0, for each of SERIES."""
  with tempfile.TemporaryDirectory() as folder:
    runs = {runtime: start(runtime, rounds, folder) for runtime in ('in_process', 'worker')}
    try:
      for runtime, run in runs.items():
        if run.wait():
          sys.exit((pathlib.Path(folder) / f'{runtime}.txt').read_text())
    finally:
      for run in runs.values():
        run.terminate()
    return {name: _column(pathlib.Path(folder) / runtime, column) for name, (runtime, column) in SERIES.items()}


def _column(run: pathlib.Path, column: str) -> np.ndarray:
  with (run / 'metrics.csv').open(newline='') as file:
    return np.array([float(row[column]) for row in csv.DictReader(file)])


def print_memory(memory: dict[str, np.ndarray], rounds: int) -> None:
  """Prints what is resident after some rounds, and the ratio that is expected to be 1."""
  settled = min(SETTLED, rounds // 2)
  shown = sorted({min(10, rounds), settled, rounds, *range(SETTLED, rounds, SETTLED)})
  rows = [(f'after round {n:,}', *(f'{mib[n]:,.0f}' for mib in memory.values())) for n in shown]
  ratios = (f'{mib[rounds] / mib[settled]:.3f}' for mib in memory.values())
  print_table(('MiB', *memory), [*rows, (f'{rounds:,} over {settled:,}', *ratios)])


def draw(memory: dict[str, np.ndarray], output: pathlib.Path) -> None:
  """Draws memory by round."""
  from matplotlib import style
  from matplotlib.figure import Figure

  with style.context(['default', ROOT / 'analysis' / 'paper.mplstyle']):
    figure = Figure(layout='constrained')
    panel = figure.add_subplot()
    for name, mib in memory.items():
      panel.plot(np.arange(len(mib)), mib, label=name)
    panel.set(xlabel='rounds', ylabel='resident memory (MiB)', ylim=(0, None))
    figure.legend(loc='outside lower center', ncols=len(memory))
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output)


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--rounds', type=int, default=2000)
  parser.add_argument('--output', type=pathlib.Path, default=ROOT / 'docs' / 'figures' / 'memory.png')
  given = parser.parse_args()
  if given.rounds < 2:
    parser.error('--rounds: at least 2 are needed.')
  memory = measure(given.rounds)
  print(f'FedAvg with 90 % stragglers on digits, {given.rounds:,} rounds, {len(os.sched_getaffinity(0))} cores\n')
  print_memory(memory, given.rounds)
  draw(memory, given.output)
  print(f'\nwrote {given.output}')


if __name__ == '__main__':
  main()
