# SPDX-License-Identifier: Apache-2.0
"""Many runs in one process, one after another."""

import contextlib

from fedprox_tff.config.record import Config
from fedprox_tff.datasets.base import FederatedDataset
from fedprox_tff.federated import runtimes
from fedprox_tff.federated.runtimes.runtime import Runtime
from fedprox_tff.sweeps import status
from fedprox_tff.training import loop, run_folder
from fedprox_tff.training.builder import Builder
from fedprox_tff.training.progress import Progress


class Workshop:
  """What one cell leaves for the next: the runtime, its compiled computations, and the data."""

  def __init__(self):
    self._stack = contextlib.ExitStack()
    self._place = self._data_key = None

  def train(self, config: Config, progress: Progress) -> None:
    """Runs a cell, or goes on with it."""
    runtime, builder, dataset = self._tools(config)
    experiment = builder.build(config, dataset)
    with run_folder.open_run(config, dataset) as folder:
      loop.train(config, experiment, runtime, folder, progress)

  def close(self) -> None:
    """Leaves the runtime."""
    self._stack.close()

  def _tools(self, config: Config) -> tuple[Runtime, Builder, FederatedDataset]:
    place, data_key = (config.runtime, config.device), status.data_key(config)
    if place != self._place:
      self._place = None
      self._stack.close()
      self._runtime = self._stack.enter_context(runtimes.use(config.runtime, device=config.device))
      self._builder = Builder()
      self._place = place
    if data_key != self._data_key:
      self._data_key = None
      self._dataset = status.load_data(config)
      self._data_key = data_key
    return self._runtime, self._builder, self._dataset
