# SPDX-License-Identifier: Apache-2.0
"""A long run with clients' states on disk, and what waiting for the disk takes of a run.

    python -m benchmarks.endurance [--rounds=2000] [--turns=3] [--quick]

First SCAFFOLD on digits, with states in memory and on disk at the same time, each in a process of its own: both must
reach the last round with the same rows. Then the default run, FedProx on MNIST, in turns as it is and with `os.fsync`
doing nothing. What a checkpoint promises is on the disk before the checkpoint counts, and this is what that costs.
"""

import argparse
import csv
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from benchmarks._timing import print_table

LONG = ('--dataset=digits', '--algorithm=scaffold', '--rounds_per_evaluation=10', '--name=run')
DEFAULT = ('--mu=1', '--stragglers=0.5')
QUICK = ('--dataset=digits', '--rounds=2')
OF_TIME = ('seconds/', 'memory/')  # columns that differ from run to run


def long_runs(rounds: int, folder: pathlib.Path) -> None:
  """Runs both places at once, and checks that they end alike."""
  places, start = ('memory', 'disk'), time.perf_counter()
  runs = {}
  for place in places:
    flags = [*LONG, f'--rounds={rounds}', f'--client_states={place}', f'--results_dir={folder / place}']
    with (folder / f'{place}.txt').open('w') as log:
      command = [sys.executable, '-m', 'fedprox_tff.run', *flags]
      runs[place] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
  seconds = {}
  while len(seconds) < len(runs):
    time.sleep(0.1)
    for place, run in runs.items():
      if place not in seconds and run.poll() is not None:
        seconds[place] = time.perf_counter() - start
  for place, run in runs.items():
    if run.returncode:
      sys.exit((folder / f'{place}.txt').read_text())
  rows = [lasting_rows(folder / place / 'run' / 'metrics.csv') for place in places]
  if rows[0] != rows[1] or len(rows[0]) != rounds + 1:
    sys.exit('the two runs differ')
  print_table(
    ('states', 'rounds', 's', 'files of states at the end'),
    (
      (place, f'{rounds:,}', f'{seconds[place]:.0f}', str(len(list((folder / place).glob('run/client_states/*')))))
      for place in places
    ),
  )


def lasting_rows(path: pathlib.Path) -> list[dict[str, str]]:
  """Returns a run's rows without what differs from run to run."""
  with path.open(newline='') as file:
    return [{k: v for k, v in row.items() if not k.startswith(OF_TIME)} for row in csv.DictReader(file)]


def one_run(waits: bool, quick: bool) -> None:
  """Runs the default run in this process, and prints the seconds that it took, and those of them in `os.fsync`."""
  from fedprox_tff import run

  fsync, calls = os.fsync, []

  def timed(descriptor: int) -> None:
    start = time.perf_counter()
    if waits:
      fsync(descriptor)
    calls.append(time.perf_counter() - start)

  os.fsync = timed
  with tempfile.TemporaryDirectory() as folder:
    start = time.perf_counter()
    code = run.main(['run', *DEFAULT, *(QUICK if quick else ()), f'--results_dir={folder}'])
    seconds = time.perf_counter() - start
  print(json.dumps({'code': code, 'seconds': seconds, 'calls': len(calls), 'waiting': sum(calls)}))


def measured(waits: bool, quick: bool) -> dict[str, float]:
  """Returns what `one_run` prints in a fresh process."""
  command = [sys.executable, '-m', 'benchmarks.endurance', f'--case={"sync" if waits else "none"}']
  command += ['--quick'] if quick else []
  result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
  if result.returncode:
    sys.exit(result.stdout + result.stderr)
  return json.loads(result.stdout.splitlines()[-1])


def main() -> None:
  """Runs the benchmark, or one case of it."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--rounds', type=int, default=2000, help='of the long run')
  parser.add_argument('--turns', type=int, default=3, help='of the default run, each with and without fsync')
  parser.add_argument('--quick', action='store_true', help='the default run on digits for two rounds')
  parser.add_argument('--case', choices=('sync', 'none'), help=argparse.SUPPRESS)
  given = parser.parse_args()
  if given.case:
    one_run(given.case == 'sync', given.quick)
    return
  with tempfile.TemporaryDirectory() as folder:
    long_runs(given.rounds, pathlib.Path(folder))
  print()
  goes = [(measured(False, given.quick), measured(True, given.quick)) for _ in range(given.turns)]
  without, with_sync = (min((go[place] for go in goes), key=lambda go: go['seconds']) for place in (0, 1))
  print_table(
    ('the default run', 's', 'calls of fsync', 's waiting', 'share of the run'),
    (
      (name, f'{go["seconds"]:.1f}', str(go['calls']), f'{go["waiting"]:.3f}', f'{go["waiting"] / go["seconds"]:.1%}')
      for name, go in (('without fsync', without), ('as it is', with_sync))
    ),
  )


if __name__ == '__main__':
  main()
