# SPDX-License-Identifier: Apache-2.0
"""Shakespeare by speaking role: 80 letters of what a role says, and the letter that comes next.

A task of LEAF (Caldas et al., arXiv:1812.01097) and of FedProx (Li et al., MLSys 2020, Section 5.1 and Appendix C.1):
143 roles are the devices, drawn among all; `shakespeare_files` says where they come from and `characters` what the
windows are. 80 % of a role's windows, the first ones, are for training. LEAF then leaves out 79, which share letters
with the last of those, and the rest is for testing; with a stride of s letters it is ceil(79 / s). A short role has
nothing left to test.

The paper's own data are older than LEAF's gap. The copy of LEAF's script beside FedProx's code draws 80 % of the
windows at random, so that nearly every letter of a test window is also in a training window that begins beside it:
`window_split='random'` does so. The draw of the roles follows `data_seed`, where theirs follows the clock; it draws
until 20 % of all windows are there, and cuts the last role short.

The paper's own files cannot be had. 143 of the 722 roles of the text that is nearest to them have 550,000 windows on
average, where its Table 1 has 517,106.
"""

from typing import Annotated, Literal

import numpy as np

from fedprox_tff.core import streams
from fedprox_tff.core.task import Inputs
from fedprox_tff.datasets import base, characters, shakespeare_files, sources
from fedprox_tff.datasets.base import Examples
from fedprox_tff.datasets.leaf_files import require
from fedprox_tff.datasets.statistics import PAPER


def shakespeare(
  *,
  data_dir: str | None = None,
  data_seed: int = 0,
  num_clients: int = PAPER['shakespeare'].devices,
  window_stride: Annotated[int, (1, None)] = 1,
  window_split: Literal['gap', 'random'] = 'gap',
  min_windows: Annotated[int, (1, None)] = 1,
  shakespeare_source: Literal['any', 'leaf', 'roles', 'tff'] = 'any',
  role_file: str | None = None,
) -> base.DataSet:
  """Returns the roles' windows, x uint8 [n, 80] and y the next letter, as places among the 80 `characters.LETTERS`.

  Args:
    data_dir: Folder with the data's files; without it $FEDPROX_DATA_DIR, then the cache, then a download.
    data_seed: Seed of the split over clients.
    num_clients: Number of speaking roles, drawn among all that there are; 0 takes all.
    window_stride: Every how many letters a window begins; the paper's data have 1.
    window_split: Which windows are for testing: the last ones, behind a gap, or some drawn at random, as in the paper's
      data, where test windows share letters with training windows. LEAF's and TFF's files are split already.
    min_windows: Least number of windows of a role.
    shakespeare_source: Layout of the files to read, where a folder has several.
    role_file: Name of the file of roles, where a folder has several.
  """

  def load(partition: None = None) -> base.FederatedDataset:
    del partition  # roles are the clients
    everyone, layout, path = shakespeare_files.read(data_dir, shakespeare_source, role_file, window_stride)
    roles = [(place, role) for place, role in enumerate(everyone) if role.num_windows >= min_windows]
    require(roles, f'--min_windows={min_windows}: {path} has no role of so many windows.')
    enough = f'--num_clients={num_clients}: {path} has {len(roles)} roles of --min_windows={min_windows} or more.'
    require(len(roles) >= num_clients, enough)
    if num_clients:
      drawn = streams.generator('data', data_seed).choice(len(roles), num_clients, replace=False)
      roles = [roles[place] for place in sorted(drawn)]
    made = [
      _split(role, window_stride, streams.generator('data', data_seed, place + 1) if window_split == 'random' else None)
      for place, role in roles
    ]
    as_in_paper = layout != 'tff' and len(roles) == PAPER['shakespeare'].devices and window_stride == min_windows == 1
    return base.FederatedDataset(
      name='shakespeare',
      client_ids=tuple(role.name for _, role in roles),
      train=base.split_from_clients([train for train, _ in made]),
      test=base.split_from_clients([test for _, test in made]),
      num_classes=len(characters.LETTERS),
      source=f'{path}, {len(roles)} of {len(everyone)} roles',
      paper=PAPER['shakespeare'] if as_in_paper else None,
      inputs=Inputs('tokens', vocabulary=len(characters.LETTERS)),
    )

  # The learning rate is the paper's (appendix C.2).
  missing = sources.not_a_name('role_file', role_file)
  return base.DataSet(
    'shakespeare', 'Shakespeare', 0.8, load, num_clients=num_clients or None, model='lstm', missing=missing
  )


def _split(role: shakespeare_files.Role, stride: int, rng: np.random.Generator | None) -> tuple[Examples, Examples]:
  """Returns a role's examples for training and for testing."""
  if role.test is not None:
    return role.train, role.test
  x, y = role.train
  num_train = max(1, int(0.8 * len(y)))
  if rng is None:
    gap = -(-(characters.LENGTH - 1) // stride)
    return Examples(x[:num_train], y[:num_train]), Examples(x[num_train + gap :], y[num_train + gap :])
  in_train = np.zeros(len(y), bool)
  in_train[rng.permutation(len(y))[:num_train]] = True
  return Examples(x[in_train], y[in_train]), Examples(x[~in_train], y[~in_train])
