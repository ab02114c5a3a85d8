# SPDX-License-Identifier: Apache-2.0
"""Whether the values of a run go together: what a method needs of the rest of the run, and what folders need."""

import os
import pathlib
from typing import Any

from fedprox_tff.algorithms import needs
from fedprox_tff.algorithms.base import Algorithm, shared_names
from fedprox_tff.config.settings import OF_RAY
from fedprox_tff.core.errors import UserError

_NAME_BYTES = 255  # of a file's name, on every file system that matters


def check(config: Any) -> None:
  """Refuses a `Config` whose values do not go together.

  Raises:
    UserError: If so; it says what came and what is needed.
  """
  source, algorithm = config.dataset.build(), config.algorithm.build()
  if source.missing:
    raise UserError(source.missing)
  if source.num_clients is not None and (config.clients_per_round or 0) > source.num_clients:
    raise UserError(
      f'--clients_per_round={config.clients_per_round}: at most the {source.num_clients} clients of the federation.'
    )
  if algorithm.schedule.adapt is not None and config.rounds_per_evaluation > 1:
    raise UserError(
      f'--rounds_per_evaluation={config.rounds_per_evaluation}: {algorithm.name} adapts to the training loss of each '
      'round here, so that --rounds_per_evaluation=1 is needed.'
    )
  check_name(config.name)
  try:
    pathlib.Path(config.results_dir).expanduser()
  except RuntimeError:
    message = f'--results_dir={config.results_dir}: ~ and the name of a user of this machine are needed.'
    raise UserError(message) from None
  if config.device == 'gpu' and config.runtime == 'worker':
    raise UserError("--device=gpu: TFF's worker has no GPU kernels; --runtime=in_process has.")
  _check_cluster(config)
  _check_optimizer(config, algorithm)
  _check_decay(config, algorithm)
  if config.local_steps is None and config.epochs <= algorithm.needs.epochs:
    raise UserError(
      f'--epochs={config.epochs}: {needs.of_epochs(algorithm.name, algorithm.needs.epochs)}; at least '
      f'{algorithm.needs.epochs + 1} are needed.'
    )
  if config.client_states is not None and algorithm.client.init is None:
    raise UserError(f'--client_states={config.client_states}: clients of {algorithm.name} keep no state.')
  if algorithm.needs.num_clients and config.sampling != 'uniform':
    raise UserError(
      f"--sampling={config.sampling}: {algorithm.name}'s server counts each client once; --sampling=uniform draws none "
      'twice.'
    )
  if algorithm.needs.all_clients:
    _check_full_participation(config, algorithm, source.num_clients)
  if algorithm.needs.plain_mean and config.weighting != 'uniform':
    raise UserError(f'--weighting={config.weighting}: {needs.of_plain_mean(algorithm.name)}, uniform.')


def check_name(name: str | None) -> None:
  """Refuses a name that cannot be that of a folder; None stands for the name that is made of the other values.

  Raises:
    UserError: If so.
  """
  if name is None:
    return
  if name in ('', '.', '..') or pathlib.Path(name).name != name:
    raise UserError(f'--name={name}: the name of one folder is needed; --results_dir says where it lies.')
  if len(os.fsencode(name)) > _NAME_BYTES:
    raise UserError(f'--name={name}: a name of at most {_NAME_BYTES} bytes is needed.')


def _check_cluster(config: Any) -> None:
  if config.runtime != 'ray':
    for key in OF_RAY:
      if getattr(config, key) is not None:
        raise UserError(f'--{key}={getattr(config, key)}: only --runtime=ray has workers.')
  elif config.device != 'gpu' and config.gpus_per_worker is not None:
    raise UserError(f'--gpus_per_worker={config.gpus_per_worker}: only --device=gpu uses GPUs.')


def _check_optimizer(config: Any, algorithm: Algorithm) -> None:
  if config.client_optimizer is None:
    return
  flag, optimizer = f'--client_optimizer={config.flat()["client_optimizer"]}', config.client_optimizer.build()
  if algorithm.needs.plain_sgd and (optimizer.name != 'sgd' or optimizer.settings):
    raise UserError(f'{flag}: {needs.of_plain_sgd(algorithm.name)}.')
  if algorithm.needs.sgd and optimizer.name != 'sgd':
    raise UserError(f'{flag}: {needs.of_sgd(algorithm.name)}.')
  shared = shared_names(algorithm, list(optimizer.settings))
  if shared:
    raise UserError(
      f'{flag}: its {shared[0]} and that of {algorithm.name} are two values of one name; another optimizer is needed.'
    )


def _check_decay(config: Any, algorithm: Algorithm) -> None:
  if config.learning_rate_decay == 1:
    return
  flag = f'--learning_rate_decay={config.learning_rate_decay}'
  if config.client_optimizer is None:
    raise UserError(f'{flag}: {algorithm.name} finds its own step sizes.')
  if algorithm.needs.same_rate:
    raise UserError(f'{flag}: {algorithm.name} needs the same learning rate in all rounds; 1 is needed.')


def _check_full_participation(config: Any, algorithm: Algorithm, num_clients: int | None) -> None:
  all_clients = needs.of_all_clients(algorithm.name)
  if config.clients_per_round is None:
    raise UserError(f'--clients_per_round: {all_clients}, and their number is needed.')
  if num_clients is not None and config.clients_per_round != num_clients:
    raise UserError(f'--clients_per_round={config.clients_per_round}: {all_clients}, {num_clients}.')
  if config.sampling != 'uniform':
    raise UserError(f'--sampling={config.sampling}: {all_clients}, once; --sampling=uniform draws them so.')
  if config.stragglers and config.straggler_policy == 'drop':
    raise UserError(f'--straggler_policy=drop: {all_clients}; partial keeps stragglers.')
