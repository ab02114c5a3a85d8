# SPDX-License-Identifier: Apache-2.0
"""A worker of a sweep on some node of a Ray cluster; it sees the folder of results, or is refused."""

import contextlib
import os
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

from fedprox_tff.cluster.place import Place
from fedprox_tff.cluster.versions import difference, versions
from fedprox_tff.machine.patience import patiently
from fedprox_tff.machine.processes import node
from fedprox_tff.sweeps import session_folder
from fedprox_tff.sweeps.worker import Stop, work

_VISIBLE_SECONDS = 5.0  # in which a shared disk shows a new file


class Job(NamedTuple):
  """What a sweep tells its actors."""

  session: str  # the session's file, as the flags of the sweep lead to it: relative, or with ~
  token: str  # what is in it
  place: Place  # where the sweep was started
  threads: str  # TensorFlow's for one operation
  versions: Mapping[str, str]


class About(NamedTuple):
  """What an actor says of itself."""

  owner: tuple[str, int]  # what claims call it
  node_id: str  # Ray's
  refusal: str  # why its node cannot work for the sweep; empty if it can


class WorkerActor:
  """A worker; Ray makes it an actor, with a thread for `work` and one for `stop`."""

  def __init__(self, job: Job):
    self._job, self._stop = job, Stop()
    job.place.enter()
    os.environ['TF_NUM_INTRAOP_THREADS'] = job.threads
    self._session = pathlib.Path(job.session).expanduser()

  def about(self) -> About:
    """Returns who it is, and whether it can work here."""
    import ray

    return About((node(), os.getpid()), ray.get_runtime_context().get_node_id(), self._refusal())

  def work(self) -> int:
    """Works until no cell is free, and returns an exit code."""
    return work(self._session, self._stop, _share_gpus)

  def stop(self) -> None:
    """Lets it save the round at work and end."""
    self._stop.request()

  def _refusal(self) -> str:
    different = difference(versions(), self._job.versions)
    if different:
      return different
    folder = self._session.parents[2]
    try:
      seen = patiently(lambda: session_folder.read(self._session), _VISIBLE_SECONDS)
    except (OSError, ValueError, KeyError):
      return f'does not see the results in {folder} that the sweep writes: a folder that all nodes share is needed'
    return '' if seen.token == self._job.token else f'has another folder {folder} than the sweep'


def _share_gpus() -> None:
  """Lets TensorFlow take no more of a GPU's memory than it needs: a share of a GPU is a matter of trust."""
  import tensorflow as tf

  with contextlib.suppress(RuntimeError):  # TensorFlow has started already
    for gpu in tf.config.list_physical_devices('GPU'):
      tf.config.experimental.set_memory_growth(gpu, True)
