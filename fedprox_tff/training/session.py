# SPDX-License-Identifier: Apache-2.0
"""The one place that opens runs: runtime, data, parts and folder, one run after another in one process."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import tensorflow as tf

from fedprox_tff.config.record import Config
from fedprox_tff.datasets.base import FederatedDataset
from fedprox_tff.federated import runtimes
from fedprox_tff.training import data, loop, run_folder
from fedprox_tff.training.builder import Builder, Experiment
from fedprox_tff.training.progress import Progress
from fedprox_tff.training.run_folder import RunFolder


class Run(NamedTuple):
  """An open run."""

  config: Config
  experiment: Experiment  # its parts
  runtime: runtimes.Runtime  # the runtime in use
  folder: RunFolder  # locked until the run is closed

  def train(self, progress: Progress) -> None:
    """Trains until `config.rounds`, from the newest checkpoint if there is one; see `loop.train`."""
    if self.experiment.note:
      progress.say(self.experiment.note)
    self.runtime.begin(progress.say)
    loop.train(self.config, self.experiment, self.runtime, self.folder, progress)


class Session:
  """Opens runs, and keeps what the next one can share: the runtime, its compiled computations, and the data.

  A context manager; leaving it leaves the runtime.
  """

  def __init__(self):
    self._stack = contextlib.ExitStack()
    self._place = self._data_key = self._dataset = None

  def __enter__(self) -> 'Session':
    return self

  def __exit__(self, *_) -> None:
    self._stack.close()

  @contextlib.contextmanager
  def open(
    self,
    config: Config,
    dataset: FederatedDataset | None = None,
    *,
    before_writing: Callable[[], None] = lambda: None,
  ) -> Iterator[Run]:
    """Opens a run, a new one or one that the same config has begun.

    Args:
      config: The run.
      dataset: Its federation, if the caller has it already. None: it is loaded, unless the run before had the same.
      before_writing: Called before rows or checkpoints are written; see `run_folder.open_run`.

    Raises:
      UserError: If the config does not fit the data, the folder holds another run, or another process works in it.
      DataError: If the data cannot be had.
      RunFailedError: If TFF's worker does not start.
    """
    runtime = self._enter_runtime(config)
    if dataset is None:
      dataset = self._load(config)
    experiment = self._builder.build(config, dataset)
    load = functools.partial(data.load_for_clients, config.record())
    runtime.share(
      experiment.train_examples, load, dataset.fingerprint, tf.nest.flatten(experiment.initial_client_state)
    )
    with run_folder.open_run(config, dataset, before_writing=before_writing) as folder:
      yield Run(config, experiment, runtime, folder)

  def _enter_runtime(self, config: Config) -> runtimes.Runtime:
    place = (config.runtime, config.device, _cluster(config))
    if place != self._place:
      self._place = None
      self._stack.close()
      self._runtime = self._stack.enter_context(runtimes.use(config.runtime, device=config.device, cluster=place[-1]))
      self._builder = Builder()
      self._place = place
    return self._runtime

  def _load(self, config: Config) -> FederatedDataset:
    if data.key(config) != self._data_key:
      self._data_key = self._dataset = None  # two data sets need not fit into memory
      self._dataset = data.load(config)
      self._data_key = data.key(config)
    return self._dataset


def _cluster(config: Config) -> runtimes.Cluster | None:
  """Returns what a run asks of a cluster; None if it uses none."""
  if config.runtime != 'ray':
    return None
  return runtimes.Cluster(
    config.ray_address, config.workers, config.clients_per_round, config.gpus_per_worker, config.wait_for_workers
  )
