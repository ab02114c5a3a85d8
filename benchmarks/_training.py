# SPDX-License-Identifier: Apache-2.0
"""A run of this suite on a federation that a benchmark has made."""

import os
import pathlib
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from fedprox_tff.config.record import Config
from fedprox_tff.datasets.base import FederatedDataset


def train(dataset: FederatedDataset, **flags: Any) -> tuple[list[float], Sequence[dict[str, float]]]:
  """Trains as `python -m fedprox_tff.run` does, rows and checkpoints written.

  Args:
    dataset: The federation. To the config it is a synthetic one, of the right number of clients.
    **flags: Flags of a run.

  Returns:
    When each round from 0 was written, in seconds since the epoch, and the rows of metrics.csv.
  """
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  from fedprox_tff.training.progress import Progress
  from fedprox_tff.training.session import Session

  times = []
  with (
    tempfile.TemporaryDirectory() as folder,
    pathlib.Path(os.devnull).open('w') as nowhere,
    Session() as session,
  ):
    places = {'dataset': 'synthetic', 'num_clients': dataset.num_clients, 'results_dir': folder}
    config = Config.from_flags({**places, **flags})
    with (
      session.open(config, dataset) as run,
      Progress(config.rounds, nowhere, after_round=lambda: times.append(time.time())) as progress,
    ):
      run.train(progress)
      return times, run.folder.metrics.rows()
