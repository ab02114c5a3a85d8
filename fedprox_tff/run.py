# SPDX-License-Identifier: Apache-2.0
"""The command line of one run: python -m fedprox_tff.run --mu=1 --stragglers=0.5."""

import math
import os
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from fedprox_tff.config import command_line
from fedprox_tff.config.flags import FLAGS
from fedprox_tff.config.help import help_text
from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import RunFailedError, UserError, line_of
from fedprox_tff.datasets.statistics import describe as describe_federation
from fedprox_tff.machine import frameworks, scratch, signals
from fedprox_tff.machine.console import BAD_INPUT, DONE, FAILED, INTERRUPTED, say
from fedprox_tff.training import columns, data, outcome
from fedprox_tff.training.fitting import fitted_model
from fedprox_tff.training.progress import Progress
from fedprox_tff.training.run_folder import results_folder

_DEFAULT_DATASET = FLAGS['dataset'].parameter.default
_FLAGS = [flag.parameter for flag in FLAGS.values()]


def main(argv: Sequence[str]) -> int:
  """Runs the command line and returns its exit code."""
  if command_line.asks_for_help(argv[1:], _FLAGS):
    say(help_text())
    return DONE
  farewell = f'interrupted; to go on: {shlex.join([_python(), "-m", "fedprox_tff.run", *argv[1:]])}'
  try:
    with scratch.own(), signals.handled(farewell) as interrupts:
      return _run(_parse(argv[1:]), interrupts)
  except UserError as error:
    say(f'error: {line_of(error)}', stream=sys.stderr)
    return BAD_INPUT
  except (RunFailedError, OSError) as error:
    say(f'error: {line_of(error)}', stream=sys.stderr)
    return FAILED
  except KeyboardInterrupt:
    say(farewell, stream=sys.stderr)
    return INTERRUPTED
  except MemoryError:
    say('error: there is not enough memory for this run.', stream=sys.stderr)
    return FAILED


def _parse(arguments: Sequence[str]) -> dict[str, Any]:
  """Returns the flags that a command line sets.

  Raises:
    UserError: If it has an unknown flag, or words that are none.
  """
  given, words = command_line.parse(arguments, _FLAGS)
  if words:
    raise UserError(f'{words[0]}: flags only, such as --{words[0].partition("=")[0]}=...; see --help.')
  return given


def _run(given: Mapping[str, Any], interrupts: signals.Interrupts) -> int:
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # TensorFlow's notes on CUDA are not the user's errors
  Config.from_flags(given)  # refuses what is wrong with flags alone, before anything begins
  frameworks.begin()  # TensorFlow and TFF take seconds to import: they come while the data are read
  config, dataset = data.load_or_fall_back(given, say)
  fitted_model(config, dataset)  # refuses what does not fit, before a folder is made and TensorFlow is needed
  try:
    results_folder(config).mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(
      f'--results_dir={config.results_dir}: {error.strerror}; a folder that can be written is needed.'
    ) from None
  say(f'{dataset.name}: {dataset.source}')
  say(describe_federation(dataset))

  frameworks.load()
  from fedprox_tff.training.session import Session

  with Session() as session, session.open(config, dataset) as run:
    with Progress(config.rounds, after_round=interrupts.check) as progress:
      interrupts.begin_training()
      run.train(progress)
    fell_back = given.get('dataset', _DEFAULT_DATASET) != config.dataset.name
    return _summarize(run.folder.path, run.folder.metrics.rows(), config, fell_back=fell_back)


def _summarize(path: pathlib.Path, rows: Sequence[dict[str, float]], config: Config, *, fell_back: bool) -> int:
  """Says what the run has come to, and returns its exit code."""
  tested = [row for row in rows if not math.isnan(row[columns.TEST_ACCURACY.name])]
  if tested:
    best, last = max(tested, key=lambda row: row[columns.TEST_ACCURACY.name]), tested[-1]
    say(f'test accuracy: best {_accuracy_of(best)}, last {_accuracy_of(last)}')
  else:
    say('test accuracy: none, since the federation has no test examples')
  if fell_back:
    say(f'*** on {config.dataset.name}, the fallback data set ***')
  say(f'in {path}: metrics.csv, config.json, tensorboard/, checkpoints/')
  say(f'to plot it: {_python()} analysis/plot.py {shlex.quote(str(path))}')
  trouble = outcome.trouble(rows)
  if trouble:
    say(f'error: {trouble.text}', stream=sys.stderr)
  return FAILED if trouble else DONE


def _accuracy_of(row: Mapping[str, float]) -> str:
  return f'{row[columns.TEST_ACCURACY.name]:.4f} in round {row[columns.ROUND_NUM.name]:.0f}'


def _python() -> str:
  """Returns the interpreter as it was called, such as .venv/bin/python."""
  return sys.orig_argv[0]


if __name__ == '__main__':
  frameworks.leave(main(sys.argv))
