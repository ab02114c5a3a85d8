# SPDX-License-Identifier: Apache-2.0
"""The command line of one run: python -m fedprox_tff.run --mu=1 --stragglers=0.5."""

import dataclasses
import math
import os
import pathlib
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from fedprox_tff.config import Config, parameters
from fedprox_tff.datasets import DATASETS
from fedprox_tff.datasets.base import FederatedDataset
from fedprox_tff.datasets.statistics import describe as describe_federation
from fedprox_tff.errors import DataError, RunFailedError, UserError
from fedprox_tff.help_text import help_text
from fedprox_tff.progress import Progress

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def define_flags() -> flags.FlagValues:
  """Returns absl flags, one for each field of `Config`; text, since `Config` checks it and says what is allowed."""
  values = flags.FlagValues()
  for field in dataclasses.fields(Config):
    define = flags.DEFINE_boolean if field.type is bool else flags.DEFINE_string
    define(field.name, None, field.metadata['help'], flag_values=values)
  return values


def parse_flags(argv: Sequence[str]) -> dict[str, Any]:
  """Returns the flags that a command line sets.

  Raises:
    UserError: If it has an unknown flag, or words that are none.
  """
  values = define_flags()
  try:
    rest = values(argv)[1:]
  except flags.Error as error:
    raise UserError(f'{str(error).splitlines()[0]} See --help.') from None
  if rest:
    raise UserError(f'{rest[0]}: flags only, such as --{rest[0].lstrip("-")}=...; see --help.')
  return {name: values[name].value for name in values if values[name].present}


def load_dataset(given: Mapping[str, Any]) -> tuple[Config, FederatedDataset]:
  """Returns the config that flags describe and its federation, or those of the fallback if one was asked for."""
  config = Config.from_flags(given)
  loader = DATASETS[config.dataset]
  try:
    return config, loader(**config.arguments_of(loader))
  except DataError as error:
    fallback = config.fallback_dataset
    if not fallback or fallback == config.dataset:
      raise
    print(f'{error}\n\n*** --fallback_dataset: training on {fallback}, not on {config.dataset}. ***\n')
    unused = parameters(loader).keys() - parameters(DATASETS[fallback]).keys()
    return load_dataset({key: value for key, value in given.items() if key not in unused} | {'dataset': fallback})


def main(argv: Sequence[str]) -> int:
  """Runs the command line and returns its exit code."""
  if any(arg.lstrip('-') in ('help', 'h', 'helpfull', 'helpshort') for arg in argv[1:]):
    print(help_text())
    return DONE
  signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended from outside is as clean as Ctrl-C
  try:
    return _run(parse_flags(argv))
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    return BAD_INPUT
  except (RunFailedError, OSError) as error:
    print(f'error: {error}', file=sys.stderr)
    return FAILED
  except KeyboardInterrupt:
    command = shlex.join([_python(), '-m', 'fedprox_tff.run', *argv[1:]])
    print(f'\ninterrupted; to go on: {command}', file=sys.stderr)
    return INTERRUPTED


def _run(given: Mapping[str, Any]) -> int:
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # TensorFlow's notes on CUDA are not the user's errors
  config, dataset = load_dataset(given)
  print(f'{dataset.name}: {dataset.source}')
  print(describe_federation(dataset), flush=True)

  # TensorFlow and TFF take seconds to import: only after all that can be wrong before.
  from fedprox_tff import experiment, loop, results
  from fedprox_tff.federated import runtimes

  with runtimes.use(config.runtime, device=config.device) as runtime:
    parts = experiment.Builder().build(config, dataset)
    with results.open_run(config, dataset.source) as folder, Progress(config.rounds) as progress:
      loop.train(config, parts, runtime, folder, progress)
  _summarize(folder.path, folder.rows(), config)
  return DONE


def _summarize(path: pathlib.Path, rows: Sequence[dict[str, float]], config: Config) -> None:
  evaluated = [row for row in rows if not math.isnan(row['test/accuracy'])]
  best = max(evaluated, key=lambda row: row['test/accuracy'])
  last = evaluated[-1]
  print(
    f'test accuracy: best {best["test/accuracy"]:.4f} in round {best["round_num"]:.0f}, '
    f'last {last["test/accuracy"]:.4f} in round {last["round_num"]:.0f}'
  )
  if config.dataset == config.fallback_dataset:
    print(f'*** on {config.dataset}, the fallback data set ***')
  print(f'in {path}: metrics.csv, config.json, tensorboard/, checkpoints/')
  print(f'to plot it: {_python()} analysis/plot.py {shlex.quote(str(path))}')


def _python() -> str:
  """Returns the interpreter as it was called, such as .venv/bin/python."""
  return sys.orig_argv[0]


if __name__ == '__main__':
  sys.exit(main(sys.argv))
