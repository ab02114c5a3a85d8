# SPDX-License-Identifier: Apache-2.0
"""Classes in proportions of a Dirichlet distribution, after Hsu, Qi and Brown (arXiv:1909.06335, 2019).

By default every class is shared out over the clients in proportions that are drawn from a symmetric Dirichlet
distribution over the clients, Dir(alpha 1), as most later work does. Sizes are then as they fall.

Balanced is the rule of Hsu, Qi and Brown themselves (Section 3.1): all clients get the same number of examples, and
each client draws the proportions of its classes, q ~ Dir(alpha p), where p is the share of each class in the pool. The
paper does not say what happens when a class is used up; here the client draws on from q without it, as Reddi et al.
("Adaptive Federated Optimization", ICLR 2021, Appendix C.1) renormalise. One alpha does not mean the same in the two
rules: over C equal classes, alpha p is alpha / C for each class.
"""

from typing import Annotated

import numpy as np

from fedprox_tff.core.errors import DataError
from fedprox_tff.datasets.partitions.base import Partition, by_owner, require_two_each


def dirichlet(*, dirichlet_alpha: Annotated[float, (1e-6, None)] = 0.5, dirichlet_balanced: bool = False) -> Partition:
  """Returns the partition by Dirichlet draws.

  Args:
    dirichlet_alpha: Concentration of the Dirichlet distribution.
    dirichlet_balanced: Whether all clients get the same number of examples, and each draws its classes.
  """

  def split(labels: np.ndarray, num_clients: int, rng: np.random.Generator) -> list[np.ndarray]:
    if not 0 < dirichlet_alpha < np.inf:
      raise DataError(f'--dirichlet_alpha={dirichlet_alpha} is not a positive number.')
    require_two_each(labels, num_clients)
    return (_balanced if dirichlet_balanced else _as_they_fall)(labels, num_clients, rng, dirichlet_alpha)

  title = rf'Dirichlet($\alpha$ = {dirichlet_alpha:.7g})'
  return Partition('dirichlet', f'balanced {title}' if dirichlet_balanced else title, split)


def _as_they_fall(
  labels: np.ndarray, num_clients: int, rng: np.random.Generator, concentration: float
) -> list[np.ndarray]:
  """Shares every class out over the clients in proportions drawn from a symmetric Dirichlet distribution.

  A client that ends with fewer than two examples is given random ones of whichever client then has the most.

  Args:
    labels: int [n], one label per row.
    num_clients: The number of clients.
    rng: The only source of randomness.
    concentration: alpha, above 0: towards 0 each class goes to one client, towards infinity the clients become alike.
  """
  owner = np.empty(len(labels), np.int64)
  for label in np.unique(labels):
    rows = rng.permutation(np.flatnonzero(labels == label))
    proportions = rng.dirichlet(np.full(num_clients, concentration))
    # Ends are rounded to the nearest: rounded up, they would hand the first client an example of every class.
    ends = np.cumsum(proportions)[:-1] * len(rows)
    owner[rows] = np.searchsorted(ends, np.arange(len(rows)) + 0.5, side='right')
  sizes = np.bincount(owner, minlength=num_clients)
  for client in np.repeat(np.arange(num_clients), np.maximum(2 - sizes, 0)):
    donor = np.argmax(sizes)
    owner[rng.choice(np.flatnonzero(owner == donor))] = client
    sizes[[donor, client]] += -1, 1
  return by_owner(owner, num_clients, rng)


def _balanced(labels: np.ndarray, num_clients: int, rng: np.random.Generator, concentration: float) -> list[np.ndarray]:
  """Lets one client after another draw equally many examples, each of a class out of q ~ Dir(alpha p).

  Sizes differ by one at most. Where all of a client's q is on classes that are used up, what is left of the pool takes
  its place. The last clients take what the others have left, so their classes are those that few have wanted.

  Args:
    labels: int [n], one label per row.
    num_clients: The number of clients.
    rng: The only source of randomness.
    concentration: alpha, above 0: towards 0 each client has one class, towards infinity the clients become alike.
  """
  classes, counts = np.unique(labels, return_counts=True)
  rows_of_class = [rng.permutation(np.flatnonzero(labels == label)) for label in classes]
  wanted = rng.dirichlet(concentration * counts / len(labels), num_clients)
  left = counts.copy()
  owner = np.empty(len(labels), np.int64)
  for client, size in enumerate(len(part) for part in np.array_split(labels, num_clients)):
    taken = _draw(wanted[client], left, size, rng)
    for rows, before, number in zip(rows_of_class, counts - left, taken, strict=True):
      owner[rows[before : before + number]] = client
    left -= taken
  return by_owner(owner, num_clients, rng)


def _draw(wanted: np.ndarray, left: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
  """Draws how many examples of each class a client takes, int64 [C], `size` in all and at most `left` of each.

  It is as if one example after another were drawn, and those of a class that is used up thrown away.
  """
  taken = np.zeros_like(left)
  while missing := size - taken.sum():
    open_ = left - taken
    shares = np.where(open_ > 0, wanted, 0.0)
    shares = shares if shares.sum() > 0 else open_.astype(float)
    taken += np.minimum(rng.multinomial(missing, shares / shares.sum()), open_)
  return taken
