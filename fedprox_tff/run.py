# SPDX-License-Identifier: Apache-2.0
"""The command line of one run: python -m fedprox_tff.run --mu=1 --stragglers=0.5."""

import dataclasses
import math
import os
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from fedprox_tff.config.help import help_text
from fedprox_tff.config.record import Config, parameters
from fedprox_tff.core.errors import DataError, RunFailedError, UserError
from fedprox_tff.datasets import DATASETS
from fedprox_tff.datasets.base import FederatedDataset
from fedprox_tff.datasets.statistics import describe as describe_federation
from fedprox_tff.machine import signals
from fedprox_tff.machine.console import say
from fedprox_tff.machine.signals import INTERRUPTED
from fedprox_tff.training.progress import Progress

DONE, FAILED, BAD_INPUT = 0, 1, 2


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
    raise UserError(f'{rest[0]}: flags only, such as --{rest[0].lstrip("-").partition("=")[0]}=...; see --help.')
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
    say(f'{error}\n\n*** --fallback_dataset: training on {fallback}, not on {config.dataset}. ***\n')
    unused = parameters(loader).keys() - parameters(DATASETS[fallback]).keys()
    return load_dataset({key: value for key, value in given.items() if key not in unused} | {'dataset': fallback})


def main(argv: Sequence[str]) -> int:
  """Runs the command line and returns its exit code."""
  if any(arg.lstrip('-') in ('help', 'h', 'helpfull', 'helpshort') for arg in argv[1:]):
    say(help_text())
    return DONE
  farewell = f'interrupted; to go on: {shlex.join([_python(), "-m", "fedprox_tff.run", *argv[1:]])}'
  try:
    with signals.handled(farewell) as interrupts:
      return _run(parse_flags(argv), interrupts)
  except UserError as error:
    say(f'error: {error}', stream=sys.stderr)
    return BAD_INPUT
  except (RunFailedError, OSError) as error:
    say(f'error: {error}', stream=sys.stderr)
    return FAILED
  except KeyboardInterrupt:
    say(farewell, stream=sys.stderr)
    return INTERRUPTED
  finally:
    _let_go_of_tffs_default_context()


def _let_go_of_tffs_default_context() -> None:
  """Replaces it: when the interpreter takes it down at the end, it may look for a module that is gone, and complain."""
  if 'tensorflow_federated' in sys.modules:
    from fedprox_tff.federated.runtimes.in_process import InProcessContext

    sys.modules['tensorflow_federated'].framework.set_default_context(InProcessContext())


def _run(given: Mapping[str, Any], interrupts: signals.Interrupts) -> int:
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # TensorFlow's notes on CUDA are not the user's errors
  config, dataset = load_dataset(given)
  try:
    pathlib.Path(config.results_dir).mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(
      f'--results_dir={config.results_dir}: {error.strerror}; a folder that can be written is needed.'
    ) from None
  say(f'{dataset.name}: {dataset.source}')
  say(describe_federation(dataset))

  # TensorFlow and TFF take seconds to import: only after all that can be wrong before.
  from fedprox_tff.federated import runtimes
  from fedprox_tff.training import builder, loop, run_folder

  with runtimes.use(config.runtime, device=config.device) as runtime:
    parts = builder.Builder().build(config, dataset)
    if parts.algorithm.start_client is not None and not parts.initial_client_state:
      say(f'note: --model={config.model} has no part that {config.algorithm} would keep on clients, so all is shared')
    with (
      run_folder.open_run(config, dataset) as folder,
      Progress(config.rounds, after_round=interrupts.check) as progress,
    ):
      interrupts.begin_training()
      loop.train(config, parts, runtime, folder, progress)
  _summarize(folder.path, folder.rows(), config)
  return DONE


def _summarize(path: pathlib.Path, rows: Sequence[dict[str, float]], config: Config) -> None:
  tested = [row for row in rows if not math.isnan(row['test/accuracy'])]
  if tested:
    best, last = max(tested, key=lambda row: row['test/accuracy']), tested[-1]
    say(
      f'test accuracy: best {best["test/accuracy"]:.4f} in round {best["round_num"]:.0f}, '
      f'last {last["test/accuracy"]:.4f} in round {last["round_num"]:.0f}'
    )
  else:
    say('test accuracy: none, since the federation has no test examples')
  if config.dataset == config.fallback_dataset:
    say(f'*** on {config.dataset}, the fallback data set ***')
  say(f'in {path}: metrics.csv, config.json, tensorboard/, checkpoints/')
  say(f'to plot it: {_python()} analysis/plot.py {shlex.quote(str(path))}')


def _python() -> str:
  """Returns the interpreter as it was called, such as .venv/bin/python."""
  return sys.orig_argv[0]


if __name__ == '__main__':
  sys.exit(main(sys.argv))
