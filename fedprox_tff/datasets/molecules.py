# SPDX-License-Identifier: Apache-2.0
"""Molecules: FederatedScope's graph task (Xie et al., PVLDB 2023, arXiv:2204.05011), seven sets over seven clients.

Each client holds one set of TUDataset (Morris et al., arXiv:2007.08663) and tells its two classes apart, so no two
clients predict the same. Classes are 0 and 1 in the order of their numbers in the files.

  client   graphs  nodes: mean, most   kinds  largest kind   larger class   train, test
  MUTAG       188         17.9    28       7             6         66.5 %      150   38
  BZR         405         35.8    57      10            53         78.8 %      324   81
  COX2        467         41.2    56       8            35         78.2 %      373   94
  DHFR        756         42.4    71       9            53         61.0 %      604  152
  PTC_MR      344         14.3    64      18            17         55.8 %      275   69
  AIDS      2,000         15.7    95      38            37         80.0 %    1,600  400
  NCI1      4,110         29.9   111      37            37         50.0 %    3,288  822

Always naming the larger class is right in 61.9 % of all graphs, and in 67.2 % on average over the clients.

The files number the kinds of atoms in each set anew: 1 is nitrogen in MUTAG, and something else in the next set. They
keep their numbers here, plus 1, so that a network's weights for one kind serve several atoms where clients share them.
FederatedScope's clients have first layers of different widths, which they cannot share.

FederatedScope shuffles a set and cuts it .8/.1/.1 for training, validation and testing. This suite has no validation
split: its clients train on the same floor(0.8 n) and test on all the rest.
"""

import os

import numpy as np

from fedprox_tff.core import streams
from fedprox_tff.core.errors import DataError
from fedprox_tff.core.task import Inputs
from fedprox_tff.datasets import base, sources, tudataset

URL = 'https://www.chrsmrrs.com/graphkerneldatasets/{}.zip'
FOLDER = 'molecules'  # the data set's own, in the places where files are looked for

# Of the four text files that are read, one after another, as `unzip -p NAME.zip` with their names prints them. How a
# zip file packs them differs from copy to copy.
SHA256 = {
  'MUTAG': '085a98747a517516d0c41bffcf4c272ff76e618abecdc02035f7466a6dcbfc98',
  'BZR': '606117442a2037433d104b04f905cbaa23223f0db96fe45e6a65c9b0bc43874c',
  'COX2': '95b6debf45fccaf5c0ce0256540b95f01e969a19aee4ee629df9bb55bf768207',
  'DHFR': '82d48f0e37da0cd7fa341fac054972742d5692960a4d76657cd94ea3bffd7dac',
  'PTC_MR': '961e4d3f90c50971f9270d0615f27561c092d37ee67ba2008bc98da07842a51e',
  'AIDS': '85decd47a8d58b0cb5523269f404b45e32c2732ac4a7a91301d18d7db8823a09',
  'NCI1': 'db1b6c5d0ded9e940cb235690037714c995cc7f27c315ad9d61e3be6795ce77f',
}


def molecules(*, data_dir: str | None = None, data_seed: int = 0) -> base.DataSet:
  """Returns the seven sets, x int16 [n, 111, 7]: of each node its kind and the places of up to six neighbours, from 1.

  Args:
    data_dir: Folder with the data's files; without it $FEDPROX_DATA_DIR, then the cache, then a download.
    data_seed: Seed of the split over clients.
  """

  def load(partition: None = None) -> base.FederatedDataset:
    del partition  # the sets are the clients
    return _federate({name: _read(name, data_dir) for name in SHA256}, data_seed)

  # The learning rate is that of FederatedScope's scripts.
  return base.DataSet('molecules', 'Molecules', 0.25, load, num_clients=len(SHA256), model='gin')


def _federate(sets: dict[str, tudataset.Graphs], data_seed: int) -> base.FederatedDataset:
  """Returns the federation with a client for each set."""
  num_places = max(graphs.sizes.max() for graphs in sets.values())
  degree = max(graphs.degrees.max() for graphs in sets.values())
  train, test = [], []
  for client, (name, graphs) in enumerate(sets.items()):
    classes, labels = np.unique(graphs.labels, return_inverse=True)
    if len(classes) != 2:
      raise DataError(f'{name} has the classes {", ".join(map(str, classes))}; two are needed.')
    x, y = tudataset.tables(graphs, num_places, degree), labels.astype(np.int32)
    # From 1: a trailing 0 in a key is no part of it to numpy.
    rows = streams.generator('data', data_seed, client + 1).permutation(len(y))
    for split, own in zip((train, test), np.split(rows, [train_size(len(y))]), strict=True):
      split.append(base.Examples(x[own], y[own]))
  return base.FederatedDataset(
    name='molecules',
    client_ids=tuple(sets),
    train=base.split_from_clients(train),
    test=base.split_from_clients(test),
    num_classes=2,
    source=f'TUDataset: {", ".join(sets)}, sha256 verified',
    inputs=Inputs('graphs', vocabulary=2 + int(max(graphs.kinds.max() for graphs in sets.values()))),
  )


def train_size(num_graphs: int) -> int:
  """Returns floor(0.8 n), a client's training graphs of its n, as FederatedScope cuts them."""
  return 4 * num_graphs // 5


def _read(name: str, data_dir: str | None) -> tudataset.Graphs:
  """Reads a set from the first place that has it, or downloads it into the cache."""
  file = f'{name}.zip'
  path = next(iter(sources.find(data_dir, [FOLDER], [file])), None)
  if path is None:
    target = os.path.join(sources.cache_dir(), FOLDER, file)
    path = sources.download_checked(URL.format(name), target, lambda unfinished: _verified(unfinished, name), name)
  return _verified(path, name)


def _verified(path: str, name: str) -> tudataset.Graphs:
  graphs = tudataset.read(path, name)
  if graphs.sha256 != SHA256[name]:
    raise DataError(f'{path} is not the published {name}: the sha256 of its text files is {graphs.sha256}.')
  return graphs
