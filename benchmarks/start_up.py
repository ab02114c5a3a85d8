# SPDX-License-Identifier: Apache-2.0
"""Time from a command to its first round, and where it goes.

    python -m benchmarks.start_up [--goes=3] [--any_flag_of_run=...]

Two tables. The first is of whole processes, the fastest of some goes: `fedprox_tff.run` on MNIST (on digits where MNIST
is not at hand), beside a program that trains a round of as many images with TFF's stock FedAvg in its own runtime, as
its tutorials do, without data to read and without an evaluation. The clock of the first round stops when the round is
reported.

The second table takes a run apart, in a process of its own, where the import does not go on beside the reading of the
data, so that its seconds add up to more than a run takes. The rows in brackets are parts of another row, or the CPU
time of the import as it is and as this suite does it.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks._timing import print_table

PLAIN_IMPORT = 'import tensorflow, tensorflow_federated'
OUR_IMPORT = 'from fedprox_tff.machine import frameworks; frameworks.load()'
FORMS = "[of compiling: TFF's MapReduceForm]"
TICK = 0.005  # seconds between two looks at what a process has said


def first_round(command: Sequence[str], mark: str) -> tuple[float, float, float]:
  """Returns when a program says its mark, when it ends, and its CPU time, in seconds."""
  with tempfile.TemporaryFile('w+') as log:
    start, before = time.perf_counter(), os.times()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    marked = None
    while process.poll() is None:
      if marked is None and mark in _text(log):
        marked = time.perf_counter() - start
      time.sleep(TICK)
    ended, after = time.perf_counter() - start, os.times()
    if process.returncode or mark not in _text(log):
      sys.exit(f'{" ".join(command)} ended with {process.returncode}\n{_text(log)}')
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return ended if marked is None else marked, ended, cpu


def _text(log: Any) -> str:
  return os.pread(log.fileno(), 2**20, 0).decode(errors='replace')


def processes(flags: Sequence[str], goes: int) -> Iterator[tuple[str, ...]]:
  """Yields a row for each program."""
  module = [sys.executable, '-m']
  programs = {
    'fedprox_tff.run': ([*module, 'fedprox_tff.run', *flags, '--rounds=1'], 'round 1/1'),
    "TFF's stock FedAvg": ([*module, 'benchmarks._stock_start'], 'round 1'),
  }
  best = {}
  for go in range(1 + goes):  # the first fills the disk's cache
    for name, (command, mark) in programs.items():
      with tempfile.TemporaryDirectory() as folder:
        place = [f'--results_dir={folder}'] if 'fedprox_tff.run' in command else []
        measured = first_round([*command, *place], mark)
      if go:
        best[name] = min(best.get(name, measured), measured)
  for name, seconds in best.items():
    yield name, *(f'{s:.1f}' for s in seconds)


def in_a_process(code: str) -> float:
  """Returns the CPU time of a program, from its first line to its last."""
  program = f'import time, numpy\nstart = time.process_time()\n{code}\nprint(time.process_time() - start)'
  environment = {**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '3'}
  done = subprocess.run(
    [sys.executable, '-c', program],
    env=environment,
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    check=True,
  )
  return float(done.stdout.splitlines()[-1])


class Laps:
  """Seconds between calls, by what was done."""

  def __init__(self):
    self.seconds: dict[str, float] = {}
    self._last = time.perf_counter()

  def __call__(self, name: str) -> None:
    """Counts the time since the last call."""
    now = time.perf_counter()
    self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
    self._last = now

  def of(self, name: str, holder: Any, function: str) -> None:
    """Counts the time of a function as that of a part of its own."""
    original = getattr(holder, function)

    def counted(*args: Any, **kwargs: Any) -> Any:
      self('the rest: folders, files, cohort and batches')
      result = original(*args, **kwargs)
      self(name)
      return result

    setattr(holder, function, counted)


def take_apart(flags: Sequence[str]) -> dict[str, float]:
  """Returns the seconds of the parts of a run of one round, in this process."""
  laps = Laps()
  from fedprox_tff.config import command_line
  from fedprox_tff.config.flags import FLAGS
  from fedprox_tff.machine import frameworks
  from fedprox_tff.training import data

  given = command_line.parse([*flags, '--rounds=1'], [flag.parameter for flag in FLAGS.values()])[0]
  laps("this suite's flags and checks")
  config, dataset = data.load_or_fall_back(given, lambda _: None)
  laps('data: reading, splitting, fingerprint')
  frameworks.load()
  laps('TensorFlow and TFF: import')
  from fedprox_tff.training import builder, loop
  from fedprox_tff.training.progress import Progress
  from fedprox_tff.training.session import Session

  laps("this suite's other modules: import")
  laps.of('building the process', builder, 'build_process')
  laps.of('initial state', builder, '_initial_state')
  laps.of('compiling: rehearsed rounds, and beside them the evaluation of round 0', loop, '_compile')
  with pathlib.Path(os.devnull).open('w') as nowhere, Session() as session, session.open(config, dataset) as run:
    _count_forms(laps)
    with Progress(config.rounds, nowhere) as progress:
      run.train(progress)
  laps('the rest: folders, files, cohort and batches')
  return laps.seconds


def _count_forms(laps: Laps) -> None:
  """Has TFF's own part of compiling counted beside it."""
  import tensorflow_federated as tff

  original: Callable[..., Any] = tff.backends.mapreduce.get_map_reduce_form_for_computation

  def counted(*args: Any) -> Any:
    start = time.perf_counter()
    form = original(*args)
    laps.seconds[FORMS] = laps.seconds.get(FORMS, 0.0) + time.perf_counter() - start
    return form

  tff.backends.mapreduce.get_map_reduce_form_for_computation = counted


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--goes', type=int, default=3, help='the fastest of so many counts')
  parser.add_argument('--part', action='store_true', help='takes a run apart in this process, and prints its seconds')
  given, flags = parser.parse_known_args()
  if given.goes < 1:
    parser.error('--goes: at least 1 is needed.')
  flags = ['--mu=1', '--stragglers=0.5', '--fallback_dataset=digits', *flags]
  if given.part:
    with tempfile.TemporaryDirectory() as folder:
      print(json.dumps(take_apart([*flags, f'--results_dir={folder}'])))
    return
  print(f'{len(os.sched_getaffinity(0))} cores\n')
  print_table(('', 's to the end of round 1', 's of the process', 's of CPU'), processes(flags, given.goes))
  command = [sys.executable, '-m', 'benchmarks.start_up', '--part', *flags]
  done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
  parts = json.loads(done.stdout.splitlines()[-1])
  parts['[CPU time of the import as it is]'] = min(in_a_process(PLAIN_IMPORT) for _ in range(given.goes))
  parts['[CPU time of the import as this suite does it]'] = min(in_a_process(OUR_IMPORT) for _ in range(given.goes))
  print()
  print_table(('', 's'), ((name, f'{seconds:.2f}') for name, seconds in parts.items()))


if __name__ == '__main__':
  main()
