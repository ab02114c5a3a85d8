# SPDX-License-Identifier: Apache-2.0
import io
import lzma
import os
import tracemalloc

import numpy as np
import pytest

from fedprox_tff.core import streams
from fedprox_tff.core.errors import DataError, UserError
from tests.federations import load

VARIANCES = np.arange(1, 61) ** -1.2
PUBLISHED = os.path.join(
  os.environ.get('FEDPROX_DATA_DIR', ''), 'synthetic_fedprox', 'fedprox_synthetic_TEST_ONLY.npz.xz'
)


def clients_of(dataset):
  """The features of each client, training and test examples together."""
  splits = (dataset.train, dataset.test)
  return [np.concatenate([split.client(k).x for split in splits]) for k in range(dataset.num_clients)]


def variances_within(clients):
  """Each feature's variance about the clients' own means, pooled."""
  squares = sum(((x - x.mean(axis=0)) ** 2).sum(axis=0) for x in clients)
  return squares / sum(len(x) - 1 for x in clients)


def mean_square_of_centers(clients):
  """The mean square of the clients' v_k, less what sampling adds to that of their means."""
  return np.mean([(x.mean(axis=0) ** 2 - VARIANCES / len(x)).mean() for x in clients])


def majority_share(labels):
  """The share of the most frequent label of a client, on average."""
  return np.mean([np.bincount(y.astype(int)).max() / len(y) for y in labels])


@pytest.fixture(scope='module')
def hundreds():
  return load('synthetic', data_seed=0, num_clients=400)


def test_sizes_are_log_normal_above_fifty_and_cut_90_10(hundreds):
  sizes = hundreds.train.sizes + hundreds.test.sizes
  logs = np.log(sizes - 50 + 0.5)
  assert sizes.min() >= 50
  assert np.median(logs) == pytest.approx(4, abs=0.3)
  assert np.subtract(*np.quantile(logs, [0.84, 0.5])) == pytest.approx(2, abs=0.35)
  assert hundreds.train.sizes.tolist() == [int(0.9 * n) for n in sizes]


def test_features_vary_as_the_inverse_1_2th_power_of_their_index(hundreds):
  assert np.allclose(variances_within(clients_of(hundreds)) / VARIANCES, 1, atol=0.05)


@pytest.mark.parametrize('beta', [0.0, 2.0])
def test_centers_have_the_variance_of_beta(beta):
  centers = clients_of(load('synthetic', data_seed=1, synthetic_beta=beta, num_clients=400))
  assert mean_square_of_centers(centers) == pytest.approx(1 + beta**2, rel=0.2)


def test_alpha_changes_no_label():
  zero, two = (load('synthetic', data_seed=0, synthetic_alpha=alpha) for alpha in (0.0, 2.0))
  assert np.array_equal(zero.train.examples.x, two.train.examples.x)
  assert np.array_equal(zero.train.examples.y, two.train.examples.y)


def accuracy_on_other_clients(dataset):
  """Of a linear model fitted to forty examples of each of the first half of the clients, on the second half's."""
  from sklearn.linear_model import LogisticRegression

  clients = [dataset.train.client(k) for k in range(dataset.num_clients)]
  x, y = (np.concatenate([array[:40] for array in arrays]) for arrays in zip(*clients, strict=True))
  half = len(y) // 2
  return LogisticRegression(C=100.0, max_iter=300).fit(x[:half], y[:half]).score(x[half:], y[half:])


def test_one_linear_model_labels_all_clients_if_iid_and_no_other_client_otherwise():
  assert accuracy_on_other_clients(load('synthetic', data_seed=0, synthetic_iid=True, num_clients=200)) > 0.9
  assert accuracy_on_other_clients(load('synthetic', data_seed=0, num_clients=200)) < 0.3


def test_iid_clients_have_no_centers():
  clients = clients_of(load('synthetic', data_seed=0, synthetic_iid=True))
  assert mean_square_of_centers(clients) == pytest.approx(0, abs=0.001)


def test_a_client_depends_on_the_seed_and_its_number_alone():
  few, many, other = (load('synthetic', data_seed=s, num_clients=n) for s, n in ((5, 3), (5, 9), (6, 3)))
  assert np.array_equal(few.train.examples.x, many.train.examples.x[: few.train.offsets[3]])
  assert np.array_equal(few.test.examples.y, many.test.examples.y[: few.test.offsets[3]])
  assert not np.array_equal(few.train.client(0).x[:40], other.train.client(0).x[:40])
  assert not np.array_equal(few.train.client(0).x[:40], few.train.client(1).x[:40])


def client_at_once(client, num_examples, *, seed, alpha, beta, iid):
  """A client's examples as the formulas have them: all in one draw, without blocks and threads."""
  rng = streams.generator('data', seed)
  weights, bias, center = rng.standard_normal((60, 10)), rng.standard_normal(10), np.zeros(60)
  rng = streams.generator('data', seed, client + 1)
  if not iid:
    mean = rng.normal(0.0, alpha)
    center = rng.normal(rng.normal(0.0, beta), 1.0, 60)
    weights, bias = rng.normal(mean, 1.0, (60, 10)), rng.normal(mean, 1.0, 10)
  x = center + np.arange(1, 61) ** -0.6 * rng.standard_normal((num_examples, 60))
  return x.astype(np.float32), np.argmax(x @ weights + bias, axis=1)


@pytest.mark.parametrize(
  ('alpha', 'beta', 'iid'), [(1.0, 1.0, False), (0.0, 0.0, False), (0.5, 2.0, False), (1.0, 1.0, True)]
)
def test_blocks_and_threads_change_no_bit(alpha, beta, iid):
  num_clients = 600  # more than two threads' chunks; the largest is of many blocks
  dataset = load(
    'synthetic', data_seed=4, synthetic_alpha=alpha, synthetic_beta=beta, synthetic_iid=iid, num_clients=num_clients
  )
  for client in range(num_clients):
    train, test = dataset.train.client(client), dataset.test.client(client)
    size = len(train.y) + len(test.y)
    x, y = client_at_once(client, size, seed=4, alpha=alpha, beta=beta, iid=iid)
    assert np.array_equal(np.concatenate([train.x, test.x]), x)
    assert np.array_equal(np.concatenate([train.y, test.y]), y)


def test_nothing_is_held_twice():
  tracemalloc.start()
  try:
    dataset = load('synthetic', data_seed=2, num_clients=300)  # one client has nearly a third of the examples
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  held = sum(array.nbytes for split in (dataset.train, dataset.test) for array in split.examples)
  assert held < peak < 1.1 * held


def test_more_clients_than_memory_are_refused():
  with pytest.raises(DataError, match=r'--num_clients=1000000000: .* GiB are free, enough for [\d,]+ clients'):
    load('synthetic', data_seed=0, num_clients=10**9)


def test_ranges_are_checked():
  for flag, value in (('synthetic_alpha', -1.0), ('synthetic_beta', np.nan), ('num_clients', 0)):
    with pytest.raises(UserError, match=f'--{flag}'):
      load('synthetic', **{'data_seed': 0, flag: value})


@pytest.mark.skipif(not os.path.isfile(PUBLISHED), reason='$FEDPROX_DATA_DIR names no folder with synthetic_fedprox/')
class TestAgainstTheAuthorsData:
  """Statistics of the test halves that the authors publish against those of ours."""

  @pytest.fixture(scope='class')
  def published(self):
    with lzma.open(PUBLISHED) as file:
      return dict(np.load(io.BytesIO(file.read())))

  def clients(self, published, name):
    return np.split(published[f'{name}/x'], np.cumsum(published[f'{name}/num_samples'])[:-1])

  def test_sizes(self, published):
    names = ('synthetic_iid', 'synthetic_0_0', 'synthetic_0.5_0.5', 'synthetic_1_1')
    theirs = np.concatenate([published[f'{name}/num_samples'] for name in names])
    ours = np.concatenate([load('synthetic', data_seed=seed).test.sizes for seed in range(4)])
    assert theirs.min() == ours.min() == 5
    assert np.median(ours) == pytest.approx(np.median(theirs), abs=5)
    assert np.quantile(np.log(ours), 0.9) == pytest.approx(np.quantile(np.log(theirs), 0.9), abs=0.6)

  @pytest.mark.parametrize('name', ['synthetic_iid', 'synthetic_0_0', 'synthetic_1_1'])
  def test_features(self, published, name):
    theirs = variances_within(self.clients(published, name))
    ours = variances_within(clients_of(load('synthetic', data_seed=0, synthetic_iid=name.endswith('iid'))))
    assert np.allclose(np.log(theirs / ours), 0, atol=0.35)
    assert np.mean(np.log(theirs / ours)) == pytest.approx(0, abs=0.05)

  @pytest.mark.parametrize(('name', 'beta'), [('synthetic_0_0', 0.0), ('synthetic_1_1', 1.0)])
  def test_centers(self, published, name, beta):
    theirs = mean_square_of_centers(self.clients(published, name))
    ours = clients_of(load('synthetic', data_seed=2, synthetic_beta=beta, num_clients=300))
    assert theirs == pytest.approx(mean_square_of_centers(ours), rel=0.5)

  @pytest.mark.parametrize(('name', 'beta'), [('synthetic_0_0', 0.0), ('synthetic_1_1', 1.0)])
  def test_labels(self, published, name, beta):
    theirs = np.split(published[f'{name}/y'], np.cumsum(published[f'{name}/num_samples'])[:-1])
    ours = load('synthetic', data_seed=0, synthetic_beta=beta, num_clients=300).test
    assert majority_share(theirs) == pytest.approx(majority_share([ours.client(k).y for k in range(300)]), abs=0.1)
