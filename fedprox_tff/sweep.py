# SPDX-License-Identifier: Apache-2.0
"""The command line of a grid of runs: python -m fedprox_tff.sweep figure1_mnist --jobs=2."""

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from fedprox_tff.cluster import connection
from fedprox_tff.config import command_line
from fedprox_tff.config.flags import FLAGS
from fedprox_tff.config.record import Config
from fedprox_tff.config.values import Parameter
from fedprox_tff.core.errors import RunFailedError, UserError, line_of
from fedprox_tff.machine import signals
from fedprox_tff.machine.console import BAD_INPUT, DONE, FAILED, INTERRUPTED, say
from fedprox_tff.machine.patience import patiently
from fedprox_tff.sweeps import actors, grids, report, status
from fedprox_tff.sweeps.claims import Claims
from fedprox_tff.sweeps.plan import Plan
from fedprox_tff.sweeps.pool import Engine, Pool
from fedprox_tff.sweeps.processes import Processes
from fedprox_tff.sweeps.session_folder import SessionFolder
from fedprox_tff.training import data, run_folder
from fedprox_tff.training.fitting import check_fits

DEFAULT_GRID = 'figure1_mnist'  # the MNIST panels of Figures 1 and 7

_HEAD = f"""\
Trains all cells of one or several grids: python -m fedprox_tff.sweep [GRID ...] [--flag=value ...]

GRID is a TOML file or one of those below; without any it is {DEFAULT_GRID}. Several processes run many cells each.
The same command again goes on where it stopped, skips what is done and tries again what failed. Sweeps started at the
same time on one folder, or on machines that share a disk, share the work.

  --jobs=N             processes or actors [one for each core, as memory allows]
  --engine=ray         run the cells in actors on a Ray cluster that shares the folder of results [processes]
  --ray_address=ADDR   with --engine=ray: the cluster; auto: the one that this machine is a node of; local: one for this
                       sweep alone; or HOST:PORT [auto]
  --gpus_per_job=G     with --engine=ray and --device=gpu: the GPUs, or the share of one, that an actor has [1]
  --dry_run            list the cells and how far they are, and run nothing
  --index=I --count=N  run only the I-th of N parts of the cells, from 0: for job arrays
  --results_dir=DIR    where runs are kept: DIR/<cell>/, with its metrics and log.txt [results]
  --data_dir=DIR       where the files of data sets are, if they have any

Any other flag of fedprox_tff.run takes the place of what the grids say of it: --rounds=20 --seed=0 for a quick look.
Where a grid searches for a learning rate, its cells wait for that, and the search's runs become more step by step;
DIR/<grid>-choices.csv has what was tried and chosen.

Grids:
"""
_TAIL = """
Exit codes: 0 all cells are done, 1 some failed, 2 bad input, 130 interrupted.
"""
_TICK_SECONDS = 0.5


_OPTIONS = (
  Parameter('jobs', int, None, 'processes or actors', low=1),
  Parameter('engine', str, 'processes', 'what runs the cells', choices=('processes', 'ray')),
  Parameter('gpus_per_job', float, None, 'with --engine=ray: the GPUs that an actor has', low=0.01),
  Parameter('dry_run', bool, False, 'list the cells and run nothing'),
  Parameter('index', int, None, 'which of COUNT parts of the cells to run', low=0),
  Parameter('count', int, None, 'of how many parts of the cells one is run', low=1),
)
_FLAGS = [*_OPTIONS, *(flag.parameter for flag in FLAGS.values())]


class _Options(NamedTuple):
  """What only a sweep has, not its cells."""

  jobs: int | None  # None: as many as there is room for
  cluster: str | None  # the address of a Ray cluster that runs the cells; None: processes do
  gpus_per_job: float | None  # on a cluster
  dry_run: bool
  part: tuple[int, int]  # index and count


def main(argv: Sequence[str]) -> int:
  """Runs the command line and returns its exit code."""
  try:
    with signals.raised():  # ended from outside is as clean as Ctrl-C
      if command_line.asks_for_help(argv[1:], _FLAGS):
        say(_help_text())
        return DONE
      return _sweep(*_parse(argv[1:]))
  except UserError as error:
    say(f'error: {line_of(error)}', stream=sys.stderr)
    return BAD_INPUT
  except (RunFailedError, OSError) as error:
    say(f'error: {line_of(error)}', stream=sys.stderr)
    return FAILED
  except KeyboardInterrupt:
    command = shlex.join([sys.orig_argv[0], '-m', 'fedprox_tff.sweep', *argv[1:]])
    say(f'\ninterrupted; to go on: {command}', stream=sys.stderr)
    return INTERRUPTED


def _help_text() -> str:
  described = [grids.read(path) for path in sorted(grids.FOLDER.glob('*.toml'))]
  lines = [f'  {grid.name:18} {_size(grid):>10} cells  {grid.title}' for grid in described]
  return _HEAD + '\n'.join(lines) + f'\n{_TAIL}'


def _size(grid: grids.Grid) -> str:
  return f'up to {grid.num_cells}' if grid.trials else str(grid.num_cells)


def _parse(arguments: Sequence[str]) -> tuple[list[str], _Options, dict[str, Any]]:
  """Returns the names of the grids, the sweep's own options, and the flags that overrule the grids."""
  given, names = command_line.parse(arguments, _FLAGS)
  options = {option.name: option.parse(given.pop(option.name)) for option in _OPTIONS if option.name in given}
  if ('index' in options) != ('count' in options):
    raise UserError('--index and --count: both are needed, or none.')
  part = (options.get('index', 0), options.get('count', 1))
  if part[0] >= part[1]:
    raise UserError(f'--index={part[0]} --count={part[1]}: an index from 0 to count - 1 is needed.')
  grids.check_overrides(given)
  cluster, gpus = None, options.get('gpus_per_job')
  if options.get('engine') == 'ray':  # the address is that of the sweep's cluster, not of a cell's
    cluster = given.pop('ray_address', connection.AUTO)
  elif gpus is not None:
    raise UserError(f'--gpus_per_job={gpus}: only --engine=ray shares GPUs.')
  return (
    names or [DEFAULT_GRID],
    _Options(options.get('jobs'), cluster, gpus, options.get('dry_run', False), part),
    given,
  )


def _sweep(names: Sequence[str], options: _Options, overrides: dict[str, Any]) -> int:
  chosen = [grids.read(grids.find(name), overrides) for name in names]
  plan = Plan(chosen, options.part)
  for grid in chosen:
    say(f'{grid.name}: {grid.title}' if grid.title else grid.name)
  if not plan.configs:
    say('no cells')
    return DONE
  _check_cluster(options, plan.configs)
  # Since ever: this writes nothing, and shows failures of whatever time.
  claims = Claims(status.claims_folder(plan.configs[0]), since=0.0)
  statuses = patiently(lambda: plan.look(claims, claims.records()))
  if not options.dry_run:
    todo = [status.config for status in statuses if status.state != 'done']
    statuses = _run(plan, todo, len(statuses), options) if todo else statuses
    for path in plan.write_choices():
      say(f'choices of the search: {path}')
  marked = report.marks(statuses)
  for line in report.table(statuses, plan.choices, marked):
    say(line)
  remark = f' ({len(marked)} diverged or stood still)' if marked else ''
  say(f'{report.summary(statuses, remark)}; in {run_folder.results_folder(plan.configs[0])}')
  return FAILED if any(status.state != 'done' for status in statuses) and not options.dry_run else DONE


def _check_cluster(options: _Options, configs: Sequence[Config]) -> None:
  """Refuses what cells cannot do on a cluster.

  Raises:
    UserError: If there is such a cell.
  """
  if options.cluster is None:
    return
  for config in configs:
    if config.runtime == 'ray':
      raise UserError(
        f'--engine=ray: {config.name} has --runtime=ray. A run spreads over a cluster, or the sweep does.'
      )
  if options.gpus_per_job is not None and not any(config.device == 'gpu' for config in configs):
    raise UserError(f'--gpus_per_job={options.gpus_per_job}: only cells with --device=gpu use GPUs.')


def _run(plan: Plan, todo: Sequence[Config], num_cells: int, options: _Options) -> list[status.Status]:
  """Runs what is not done, and returns how all of it ended."""
  progress = report.Report()
  with _engine(options, plan.configs, progress) as engine:
    _check_data(todo)
    folder = run_folder.results_folder(plan.configs[0])
    try:
      claims = Claims(status.claims_folder(plan.configs[0]))
    except OSError as error:
      message = f'--results_dir={folder}: {error.strerror}; a folder that can be written is needed.'
      raise UserError(message) from None
    jobs = min(options.jobs or engine.room(todo), len(todo))
    say(f'{len(todo)} of {num_cells} cells to do, {jobs} {engine.noun[jobs > 1]}')
    session = SessionFolder(plan.configs, since=claims.since)
    pool = Pool(session, engine, jobs=jobs)
    try:
      return _watch(plan, claims, session, pool, progress)
    except KeyboardInterrupt:
      progress.close()
      say('stopping: the rounds at work are finished and saved (again: at once, and they are lost)')
      raise
    finally:
      try:
        pool.stop()
      finally:
        session.close()


def _engine(
  options: _Options, configs: Sequence[Config], progress: report.Report
) -> contextlib.AbstractContextManager[Engine]:
  """Returns what the workers of the sweep come from."""
  if options.cluster is None:
    return contextlib.nullcontext(Processes())
  return actors.joined(options.cluster, options.gpus_per_job, configs, progress.say)


def _check_data(configs: Sequence[Config]) -> None:
  """Loads each data set once: it may not be there, or be downloaded, or not fit; processes are started after that."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # Keras looks for MNIST; TensorFlow's notes are not the user's
  by_data: dict[Any, list[Config]] = {}
  for config in configs:
    by_data.setdefault(data.key(config), []).append(config)
  for members in by_data.values():
    dataset = data.load(members[0])
    say(f'{dataset.name}: {dataset.source}')
    for note in dict.fromkeys(check_fits(config, dataset) for config in members):
      if note:
        say(note)


def _watch(
  plan: Plan, claims: Claims, session: SessionFolder, pool: Pool, progress: report.Report
) -> list[status.Status]:
  """Keeps workers at work until each cell is done or has failed, by whomever."""
  while True:
    records, known, num_choices = patiently(claims.records), plan.configs, len(plan.choices)
    statuses = patiently(lambda records=records: plan.look(claims, records))
    if plan.configs is not known:  # a search goes on or has ended
      patiently(lambda: session.offer(plan.configs))
    if len(plan.choices) > num_choices:
      patiently(plan.write_choices)
    progress.update(statuses)
    states = [status.state for status in statuses]
    if not {'running', 'to do', 'waiting'} & set(states):
      progress.close()
      return statuses
    pool.tend(records, states.count('to do'))
    time.sleep(_TICK_SECONDS)


if __name__ == '__main__':
  sys.exit(main(sys.argv))
