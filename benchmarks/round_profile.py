# SPDX-License-Identifier: Apache-2.0
"""Where the time of a round goes, as the suite runs it in process.

    python -m benchmarks.round_profile [--dataset=mnist] [--clients_per_round=10] [--any_flag_of_run=...]

The paper's MNIST setting by default, or digits where MNIST is not at hand. Each part is timed alone on the same ten
cohorts, once everything is compiled; a round of `loop.train` is timed beside them. A client's start is what a round
costs more when each of its clients takes one step, and its local steps what it costs more when they take all of them,
on all cores. Evaluation, row and checkpoint run in a second thread while the next round trains.
"""

import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

from fedprox_tff.config import command_line
from fedprox_tff.config.flags import FLAGS
from fedprox_tff.training import data
from fedprox_tff.training.checkpoints import Checkpoints
from fedprox_tff.training.participation import client_examples, draw_cohort, payload_of
from fedprox_tff.training.progress import Progress
from fedprox_tff.training.run_folder import RunFolder
from fedprox_tff.training.session import Run, Session
from fedprox_tff.training.tensorboard import TensorBoard

COHORTS = range(1, 11)


def milliseconds(work: Callable[[int], object], arguments: Sequence[int] = COHORTS, turns: int = 3) -> float:
  """Returns the mean time of `work` over `arguments`, in the best of some turns after one that does not count."""
  times = []
  for _ in range(turns + 1):
    start = time.perf_counter()
    for argument in arguments:
      work(argument)
    times.append((time.perf_counter() - start) / len(arguments) * 1e3)
  return min(times[1:])


def load(flags: Sequence[str]):
  """Returns the config and the data of the flags, on digits where MNIST cannot be had."""
  return data.load_or_fall_back(
    {'fallback_dataset': 'digits', **command_line.parse(flags, [flag.parameter for flag in FLAGS.values()])[0]}, print
  )


def rows_ms(folder: RunFolder, row: Mapping[str, float]) -> float:
  """Returns the time of writing a row, after the last one."""
  rounds = itertools.count(len(folder.metrics.rows()))

  def write(_: int) -> None:
    round_num = next(rounds)
    folder.metrics.append(row, round_num)
    board.write(row, round_num)

  with TensorBoard(folder.path / 'tensorboard') as board:
    return milliseconds(write)


def main() -> None:
  """Runs the benchmark."""
  with tempfile.TemporaryDirectory() as folder:
    flags = [f'--results_dir={folder}', '--rounds=20', '--rounds_per_evaluation=20', '--rounds_per_checkpoint=20']
    config, dataset = load([*flags, *sys.argv[1:]])
    with Session() as session, session.open(config, dataset) as opened:
      with Progress(config.rounds) as progress:
        opened.train(progress)
      seconds = sorted(row['seconds/train'] for row in opened.folder.metrics.rows()[1:])
      profile(opened, seconds[len(seconds) // 2] * 1e3)


def profile(opened: Run, round_ms: float) -> None:
  """Times the parts and prints the table."""
  config, parts, folder = opened.config, opened.experiment, opened.folder
  state, process = parts.initial_state, parts.process
  cohorts = {r: draw_cohort(config, parts, r) for r in COHORTS}
  with client_examples(parts, opened.runtime) as examples:

    def payloads(round_num, **changes):
      return [payload_of(config, parts, examples, p._replace(**changes), round_num) for p in cohorts[round_num]]

    one_step = {r: payloads(r, num_steps=1) for r in COHORTS}
    all_steps = {r: payloads(r) for r in COHORTS}
    making = milliseconds(payloads)
  row = {name: value for name, value in folder.metrics.rows()[-1].items() if name != 'round_num'}
  checkpoints = Checkpoints(folder)
  weights = process.get_model_weights(state).trainable
  server = milliseconds(lambda r: process.next(state, []))
  start = milliseconds(lambda r: process.next(state, one_step[r]))
  whole = milliseconds(lambda r: process.next(state, all_steps[r]))
  evaluators = (parts.evaluate_train, parts.evaluate_test)
  at_once = parts.evaluate_train.at_once
  steps = sum(p.num_steps for cohort in cohorts.values() for p in cohort) / len(COHORTS)
  table = [
    ('cohort', milliseconds(lambda r: draw_cohort(config, parts, r))),
    ('payloads', making),
    ('broadcast, server step, metrics', server),
    (f'start of {config.clients_per_round} clients, aggregation of their results', start - server),
    (f'{steps:,.0f} local steps', whole - start),
    ('beside the next round: evaluation, by itself', milliseconds(lambda r: [each(weights) for each in evaluators])),
    (
      f'beside the next round: evaluation, {at_once} rounds at once',
      milliseconds(lambda r: [each.of_several([weights] * at_once) for each in evaluators]) / at_once,
    ),
    ('beside the next round: row (CSV, TensorBoard)', rows_ms(folder, row)),
    (
      'beside the next round: checkpoint',
      milliseconds(lambda r: checkpoints.save(state, time.monotonic_ns()), range(3)),
    ),
  ]
  overhead = sum(ms for _, ms in table[:4])
  print(f'\n{config.dataset.name}, K = {config.clients_per_round}, {len(os.sched_getaffinity(0))} cores\n')
  print('| | ms | share of a round |\n| --- | --- | --- |')
  for name, ms in [*table, ('overhead: the first four', overhead), ('a round in the loop, median', round_ms)]:
    print(f'| {name} | {ms:.2f} | {ms / round_ms:.0%} |')


if __name__ == '__main__':
  main()
