# SPDX-License-Identifier: Apache-2.0
"""What `plot.py partition` draws: the federation of a run with some flags, without the run."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from analysis import arguments
from fedprox_tff.config.flags import FLAGS
from fedprox_tff.config.record import PLACES
from fedprox_tff.config.settings import DATA
from fedprox_tff.config.values import Parameter
from fedprox_tff.datasets.base import FederatedDataset
from fedprox_tff.training import data

_OUTPUT = Parameter('output', str, None, 'where to')
_OF_FIGURES = (arguments.RESULTS_DIR, _OUTPUT)
HELP = """\
Draws which classes the clients of a data set hold, and how many examples, to PNG and PDF:
python analysis/plot.py partition [--dataset=NAME] [--flag=value ...]

  --output=FILE         where to; both FILE.png and FILE.pdf are written [partition-... in the results folder]
  --results_dir=FOLDER  the results folder [results]

All other flags are those of a run that choose its data, such as --dataset, --data_dir, --data_seed, --num_clients,
--partition and --dirichlet_alpha: `python -m fedprox_tff.run --help` lists them under "Data". Of more than 100 clients
the first 100 are drawn.
"""


class Federation(NamedTuple):
  """A data set that is split."""

  dataset: FederatedDataset
  title: str  # of a caption: the data set and the partition
  name: str  # of a file: the flags that make it another than the default one


def flags() -> list[Parameter]:
  """Returns the flags of the command line; values of a run's stay text, which its config reads."""
  of_runs = (flag.parameter for flag in FLAGS.values() if flag.group == DATA)
  return [*_OF_FIGURES, *(Parameter(p.name, bool if p.kind is bool else str, None, p.help) for p in of_runs)]


def load(given: Mapping[str, Any], say: Callable[[str], None]) -> Federation:
  """Returns the federation that flags describe.

  Args:
    given: Values by flag.
    say: Is told if a fallback is needed.

  Raises:
    UserError: If a flag's value is not allowed, or the data cannot be had.
  """
  chosen = {key: value for key, value in given.items() if key not in {flag.name for flag in _OF_FIGURES}}
  config, dataset = data.load_or_fall_back({'clients_per_round': 1, **chosen}, say)
  source = config.dataset.build()
  titles = [source.title, *([] if config.partition is None else [config.partition.build().title])]
  named = [f'{key}={value}' for key, value in chosen.items() if key not in PLACES and key != 'dataset']
  name = '-'.join(['partition', source.name, *filter(None, [source.folder]), *named])
  return Federation(dataset, ', '.join(titles), name)
