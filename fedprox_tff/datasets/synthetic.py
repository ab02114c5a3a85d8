# SPDX-License-Identifier: Apache-2.0
"""Synthetic(alpha, beta), the generated data of FedProx (Li et al., MLSys 2020, Section 5.1 and Appendix C.1).

Client k holds n_k = floor(LogNormal(4, 2)) + 50 examples of 60 features and 10 classes:

  u_k ~ N(0, alpha)     W_k [60, 10], b_k [10] ~ N(u_k, 1)     y = argmax(softmax(x W_k + b_k))
  B_k ~ N(0, beta)      v_k [60] ~ N(B_k, 1)                   x ~ N(v_k, diag(j^-1.2)), j = 1 to 60

and the IID variant has one W, b ~ N(0, 1) for all clients and v_k = 0. Everything as the authors' scripts do it:

* alpha and beta are standard deviations, where the paper's notation suggests variances;
* one u_k is the mean of all of W_k and b_k. It then adds the same number to all ten logits and cancels in the argmax,
  so that **alpha changes no label**: Synthetic(0, 1) and Synthetic(1, 1) are the same data. Only beta sets the
  (0, 0), (0.5, 0.5) and (1, 1) of the paper apart;
* each client trains on floor(0.9 n_k) of its examples and tests on the rest, where the paper's text says 80/20. The
  scripts shuffle before they cut; the examples of a client are drawn independently, so we need not.

The scripts set no seed. Client k's examples are drawn from a stream of its own and depend on `data_seed` and k alone.
The totals vary much with the seed: 5,200 to 31,000 examples over 30 clients in nine draws of ten.
"""

import concurrent.futures
from collections.abc import Callable
from typing import Annotated, NamedTuple

import numpy as np

from fedprox_tff.core import streams
from fedprox_tff.datasets import base
from fedprox_tff.datasets.memory import require_memory
from fedprox_tff.machine.resources import usable_cores

NUM_FEATURES = 60
NUM_CLASSES = 10
CLIENT_BYTES = (50 + 403) * 4 * (NUM_FEATURES + 1)  # on average: 403 = e^(4 + 2^2 / 2), the mean of LogNormal(4, 2)
DEVIATIONS = np.arange(1, NUM_FEATURES + 1) ** -0.6  # of the features: the square root of the diagonal of Sigma

_BLOCK = 256  # examples drawn at once: few enough for the cache, and for BLAS to start no threads of its own
_CHUNK = 256  # clients that a thread takes at once
_MAX_THREADS = 8  # more would wait for one another at Python's lock


class _Law(NamedTuple):
  """What a client's examples are drawn from."""

  weights: np.ndarray  # W_k [60, 10]
  bias: np.ndarray  # b_k [10]
  center: np.ndarray | float  # v_k [60]

  def draw_into(self, examples: base.Examples, rng: np.random.Generator) -> None:
    """Draws examples, a block at a time: a large client never exists in float64."""
    for start in range(0, len(examples.y), _BLOCK):
      block = slice(start, start + _BLOCK)
      x = self.center + DEVIATIONS * rng.standard_normal(examples.x[block].shape)
      examples.x[block] = x
      examples.y[block] = np.argmax(x @ self.weights + self.bias, axis=1)


def synthetic(
  *,
  data_seed: int = 0,
  num_clients: Annotated[int, (1, None)] = 30,
  synthetic_alpha: float = 1.0,
  synthetic_beta: float = 1.0,
  synthetic_iid: bool = False,
) -> base.DataSet:
  """Returns a Synthetic federation, x of shape [n, 60].

  A client takes about 0.5 ms of a core and 0.11 MB: 100,000 of them half a minute on two cores, and 10.3 GiB.

  Args:
    data_seed: Seed of the split over clients.
    num_clients: Number of clients in the federation.
    synthetic_alpha: How much the clients' models differ, alpha of Synthetic(alpha, beta): the deviation of u_k.
    synthetic_beta: How much the clients' data differ, beta of Synthetic(alpha, beta): the deviation of B_k.
    synthetic_iid: Whether to generate the IID variant, which has neither u_k nor B_k.
  """
  missing = ''
  if synthetic_iid and (synthetic_alpha, synthetic_beta) != (1.0, 1.0):
    missing = '--synthetic_iid: the IID variant has neither --synthetic_alpha nor --synthetic_beta.'
  variant = '-IID' if synthetic_iid else f'({synthetic_alpha:g}, {synthetic_beta:g})'

  def load(partition: None = None) -> base.FederatedDataset:
    del partition  # each client's examples are drawn for it
    require_memory(num_clients, CLIENT_BYTES)
    rng = streams.generator('data', data_seed)
    shared = _Law(rng.standard_normal((NUM_FEATURES, NUM_CLASSES)), rng.standard_normal(NUM_CLASSES), 0.0)
    sizes = rng.lognormal(4.0, 2.0, num_clients).astype(np.int64) + 50
    train = base.empty_split(base.train_size(sizes), (NUM_FEATURES,))
    test = base.empty_split(sizes - base.train_size(sizes), (NUM_FEATURES,))

    def generate(clients: range) -> None:
      for client in clients:
        # From 1: a trailing 0 in a key is no part of it to numpy, and would be the stream of the sizes.
        rng = streams.generator('data', data_seed, client + 1)
        law = shared if synthetic_iid else _draw_law(rng, synthetic_alpha, synthetic_beta)
        law.draw_into(train.client(client), rng)
        law.draw_into(test.client(client), rng)

    _in_threads(generate, num_clients)
    return base.FederatedDataset(
      name='synthetic',
      client_ids=base.client_ids(num_clients),
      train=train,
      test=test,
      num_classes=NUM_CLASSES,
      source=f'Synthetic {variant.lstrip("-")}, generated with data seed {data_seed}',
    )

  # The learning rate is the paper's (appendix C.2).
  return base.DataSet('synthetic', f'Synthetic{variant}', 0.01, load, num_clients=num_clients, missing=missing)


def _draw_law(rng: np.random.Generator, alpha: float, beta: float) -> _Law:
  """Draws u_k, B_k, v_k, W_k and b_k, in this order."""
  model_mean = rng.normal(0.0, alpha)
  center = rng.normal(rng.normal(0.0, beta), 1.0, NUM_FEATURES)
  weights = rng.normal(model_mean, 1.0, (NUM_FEATURES, NUM_CLASSES))
  bias = rng.normal(model_mean, 1.0, NUM_CLASSES)
  return _Law(weights, bias, center)


def _in_threads(generate: Callable[[range], None], num_clients: int) -> None:
  """Calls `generate` with all clients, chunk by chunk, on all cores: numpy lets go of Python's lock while it draws."""
  chunks = [range(start, min(start + _CHUNK, num_clients)) for start in range(0, num_clients, _CHUNK)]
  threads = min(usable_cores(), _MAX_THREADS)
  with concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix='synthetic') as pool:
    for _ in pool.map(generate, chunks):
      pass  # what a thread raised is raised here
