# SPDX-License-Identifier: Apache-2.0
import hashlib

import numpy as np
import pytest

from fedprox_tff.core.errors import DataError
from fedprox_tff.datasets import partitions

MNIST_COUNTS = (6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958)  # of the digits among all 70,000
MNIST_LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10, dtype=np.int32), MNIST_COUNTS))
LABELS = np.random.default_rng(1).permutation(np.repeat(np.arange(10, dtype=np.int32), 200))


def split(name, labels=LABELS, num_clients=50, seed=0, **hparams):
  return partitions.PARTITIONS[name](**hparams).split(labels, num_clients, np.random.default_rng(seed))


def sizes(clients):
  return np.array([len(rows) for rows in clients])


def mean_label_entropy(clients, labels=LABELS):
  shares = np.array([np.bincount(labels[rows], minlength=10) / len(rows) for rows in clients])
  return -np.sum(shares * np.log(np.where(shares > 0, shares, 1)), axis=1).mean()


@pytest.mark.parametrize('name', partitions.PARTITIONS)
class TestEveryPartition:
  def test_deals_no_row_twice_and_two_to_each_client(self, name):
    clients = split(name)
    rows = np.concatenate(clients)
    assert len(clients) == 50
    assert np.array_equal(np.unique(rows), np.sort(rows))
    assert rows.min() >= 0
    assert rows.max() < len(LABELS)
    assert sizes(clients).min() >= 2
    assert len(rows) == len(LABELS) or name == 'power_law'

  def test_follows_its_generator_alone(self, name):
    first, again, other = split(name), split(name), split(name, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))

  def test_orders_each_client_at_random(self, name):
    clients = [rows for rows in split(name, num_clients=20) if len(rows) >= 20]
    correlations = [np.corrcoef(rows, np.arange(len(rows)))[0, 1] for rows in clients]
    assert abs(np.mean(correlations)) < 0.15

  @pytest.mark.parametrize('num_clients', [-1, 0, 1001])
  def test_refuses_numbers_of_clients_that_the_examples_do_not_allow(self, name, num_clients):
    with pytest.raises(DataError, match='--num_clients'):
      split(name, num_clients=num_clients)


@pytest.mark.parametrize(
  ('name', 'digest'), [('iid', 'b8b1c88e852dcbda'), ('power_law', 'b3b7288d9d6f80f2'), ('shards', '891f9e4ebdba85a5')]
)
def test_a_split_is_what_it_was_in_earlier_versions(name, digest):
  rows = b'|'.join(each.astype('<i8').tobytes() for each in split(name)) + b'|'
  assert hashlib.blake2b(rows, digest_size=8).hexdigest() == digest


class TestPowerLaw:
  @pytest.fixture(scope='class')
  def draws(self):
    return [split('power_law', MNIST_LABELS, 1000, seed) for seed in range(8)]

  def test_client_u_holds_the_digits_u_and_u_plus_1(self, draws):
    for client, rows in enumerate(draws[0]):
      digits, counts = np.unique(MNIST_LABELS[rows], return_counts=True)
      assert set(digits) == {client % 10, (client + 1) % 10}
      assert counts.min() >= 5

  def test_the_first_five_images_of_a_digit_go_to_its_first_holder(self, draws):
    for digit in range(10):
      (images,) = np.equal(MNIST_LABELS, digit).nonzero()
      # Digit 0 is the first of client 0's two; any other is the second of the client's before.
      assert set(images[:5]) <= set(draws[0][max(digit - 1, 0)])
      assert set(images[5:10]) <= set(draws[0][9 if digit == 0 else digit])

  def test_sizes_are_those_of_the_authors_script(self, draws):
    # 200 runs of the script: 69,017 to 69,113 examples, standard deviation 119 to 260.
    for clients in draws:
      assert 69_000 <= sizes(clients).sum() <= 69_130
      assert sizes(clients).min() == 10
      assert 110 < np.std(sizes(clients)) < 300

  def test_the_tail_is_that_of_a_log_normal_of_sigma_2(self, draws):
    counts = [np.bincount(MNIST_LABELS[rows], minlength=10) for clients in draws for rows in clients]
    extras = [count[digit] - 5 for index, count in enumerate(counts) for digit in (index % 10, (index + 1) % 10)]
    low, high = np.quantile(extras, [0.9, 0.99])
    assert np.log(high / low) == pytest.approx(2.0 * (2.3263 - 1.2816), abs=0.25)

  def test_a_share_that_would_finish_a_class_is_not_dealt(self):
    class EvenShares(np.random.Generator):
      def lognormal(self, mean, sigma, size):
        return np.ones(size)

    # Four clients hold each class, 5 seed examples each; the 12 that are left come to 3 for each holder.
    labels = np.repeat(np.arange(3), 4 * 5 + 12)
    clients = partitions.power_law().split(labels, 6, EvenShares(np.random.PCG64(0)))
    dealt = np.bincount(labels[np.concatenate(clients)])
    assert dealt.tolist() == [4 * 5 + 9] * 3

  def test_classes_are_those_among_the_labels(self):
    labels = np.repeat([3, 7, 20], 100)
    for client, rows in enumerate(split('power_law', labels, 6)):
      assert set(labels[rows]) == {(3, 7, 20)[client % 3], (3, 7, 20)[(client + 1) % 3]}

  @pytest.mark.parametrize('num_clients', [15, 5, 210])
  def test_refuses_numbers_of_clients_that_cannot_be_seeded(self, num_clients):
    with pytest.raises(DataError, match=f'--num_clients={num_clients}: .* a multiple of 10 up to 200'):
      split('power_law', num_clients=num_clients)

  def test_allows_the_largest_number_of_clients(self):
    assert sizes(split('power_law', num_clients=200)).tolist() == [10] * 200

  @pytest.mark.parametrize('held', [1, 3, 5, 10])
  def test_client_u_holds_as_many_classes_as_are_asked_for(self, held):
    for client, rows in enumerate(split('power_law', MNIST_LABELS, 100, classes_per_client=held)):
      digits, counts = np.unique(MNIST_LABELS[rows], return_counts=True)
      assert set(digits) == {(client + which) % 10 for which in range(held)}
      assert counts.min() >= 5

  def test_the_shares_of_three_classes_come_to_all_of_a_class(self):
    dealt = np.bincount(MNIST_LABELS[np.concatenate(split('power_law', MNIST_LABELS, 100, classes_per_client=3))])
    # 30 holders of each digit, and rounding down costs each less than one example.
    assert 0 <= (MNIST_COUNTS - dealt).min() <= (MNIST_COUNTS - dealt).max() < 31

  def test_refuses_more_classes_than_there_are(self):
    with pytest.raises(DataError, match=r'--classes_per_client=11: the data have 10 classes\.'):
      split('power_law', classes_per_client=11)

  def test_seeds_as_many_classes_as_are_held(self):
    # 200 examples of each class: 5 for each of 4 holders a rank, 10 ranks.
    with pytest.raises(DataError, match=r'examples of 4 classes to each .* a multiple of 10 up to 100\.'):
      split('power_law', num_clients=110, classes_per_client=4)
    assert sizes(split('power_law', num_clients=100, classes_per_client=4)).tolist() == [20] * 100

  def test_says_in_its_title_what_is_not_the_papers(self):
    assert partitions.power_law().title == 'power law'
    assert partitions.power_law(classes_per_client=1).title == 'power law, one class a client'
    assert partitions.power_law(classes_per_client=3).title == 'power law, 3 classes a client'


class TestIid:
  def test_sizes_differ_by_one_at_most(self):
    assert set(sizes(split('iid', num_clients=300))) == {6, 7}

  def test_clients_have_the_labels_of_the_pool(self):
    shares = np.array([np.bincount(LABELS[rows], minlength=10) for rows in split('iid', num_clients=10)]) / 200
    assert np.abs(shares - 0.1).max() < 0.09  # four standard deviations


class TestShards:
  def test_a_client_holds_two_shards_of_one_label_each(self):
    clients = split('shards')  # 100 shards of 20 examples
    assert set(sizes(clients)) == {40}
    for rows in clients:
      assert set(np.bincount(LABELS[rows], minlength=10)) <= {0, 20, 40}

  def test_shards_are_paired_at_random(self):
    pairs = {tuple(np.unique(LABELS[rows])) for rows in split('shards')}
    assert len(pairs) > 25  # of 45 pairs and 10 single labels
    assert any(abs(pair[0] - pair[-1]) > 4 for pair in pairs)


class TestDirichlet:
  def test_a_small_alpha_skews_and_a_large_one_evens_out(self):
    skewed, middle, even = (mean_label_entropy(split('dirichlet', dirichlet_alpha=a)) for a in (0.05, 0.5, 1000.0))
    assert skewed < 0.8
    assert 1.2 < middle < 1.8
    assert even > 2.2  # the most is log(10) = 2.30

  def test_shares_have_the_variance_of_the_distribution(self):
    labels, num_clients, alpha = np.repeat(np.arange(200), 500), 20, 0.5
    counts = [np.bincount(labels[rows], minlength=200) for rows in split('dirichlet', labels, num_clients)]
    mean = 1 / num_clients
    variance = mean * (1 - mean) / (num_clients * alpha + 1)
    assert np.var(np.array(counts) / 500) == pytest.approx(variance, rel=0.1)

  def test_clients_left_with_nothing_are_given_two_examples_of_the_largest(self):
    clients = split('dirichlet', num_clients=900, dirichlet_alpha=0.01)
    assert sizes(clients).min() == 2
    assert np.median(sizes(clients)) == 2
    assert np.unique(np.concatenate(clients)).size == len(LABELS)

  @pytest.mark.parametrize('alpha', [1e6, 1e30, 3e38])
  def test_a_large_alpha_is_near_iid(self, alpha):
    clients = split('dirichlet', np.repeat(np.arange(10), 180), 30, dirichlet_alpha=alpha)
    assert 40 <= sizes(clients).min() <= sizes(clients).max() <= 80  # 60 on average

  @pytest.mark.parametrize('alpha', [0.0, -1.0, np.nan, np.inf])
  def test_refuses_an_alpha_that_is_no_concentration(self, alpha):
    with pytest.raises(DataError, match='--dirichlet_alpha'):
      split('dirichlet', dirichlet_alpha=alpha)

  def test_no_client_is_favoured(self):
    held = np.array(
      [
        [len(np.unique(LABELS[rows])) for rows in split('dirichlet', seed=seed, dirichlet_alpha=0.1)]
        for seed in range(60)
      ]
    )
    # Each client's mean over the seeds, about 3 of 10 classes; the deviation of one client and seed is 1.6.
    assert np.abs(held.mean(axis=0) - held.mean()).max() < 4 * 1.6 / np.sqrt(60)

  def test_says_alpha_in_its_title(self):
    assert partitions.dirichlet(dirichlet_alpha=0.01).title == r'Dirichlet($\alpha$ = 0.01)'
    assert partitions.dirichlet(dirichlet_balanced=True).title == r'balanced Dirichlet($\alpha$ = 0.5)'


class TestBalancedDirichlet:
  def split(self, labels=LABELS, num_clients=50, **hparams):
    return split('dirichlet', labels, num_clients, dirichlet_balanced=True, **hparams)

  @pytest.mark.parametrize('alpha', [1e-6, 0.01, 1.0, 1e30])
  def test_all_rows_are_dealt_once_in_equal_numbers(self, alpha):
    clients = self.split(num_clients=30, dirichlet_alpha=alpha)  # 2,000 examples: 66 or 67 each
    assert set(sizes(clients)) == {66, 67}
    assert np.array_equal(np.sort(np.concatenate(clients)), np.arange(len(LABELS)))

  def test_orders_each_client_at_random(self):
    correlations = [np.corrcoef(rows, np.arange(len(rows)))[0, 1] for rows in self.split(num_clients=20)]
    assert abs(np.mean(correlations)) < 0.15

  def test_the_first_client_draws_its_classes_from_a_dirichlet_distribution_over_classes(self):
    # 100 clients with 20 of 2,000 examples each: the first one's classes are nearly independent draws of q ~ Dir(alpha
    # p), p = 1/10, so the number of one class has the mean 2 and the variance n p (1 - p) (n + alpha) / (1 + alpha).
    counts = []
    for seed in range(300):
      rows = partitions.dirichlet(dirichlet_alpha=5.0, dirichlet_balanced=True).split(
        LABELS, 100, np.random.default_rng(seed)
      )[0]
      counts.append(np.bincount(LABELS[rows], minlength=10))
    assert np.mean(counts) == 2.0
    assert np.var(counts) == pytest.approx(20 * 0.1 * 0.9 * (20 + 5.0) / (1 + 5.0), rel=0.12)

  def test_proportions_follow_the_sizes_of_the_classes(self):
    labels = np.repeat([0, 1], [1800, 200])
    shares = [
      np.mean(labels[partitions.dirichlet(dirichlet_balanced=True).split(labels, 40, np.random.default_rng(seed))[0]])
      for seed in range(400)
    ]
    assert np.mean(shares) == pytest.approx(0.1, abs=0.04)  # E q = p

  def test_a_class_that_is_used_up_leaves_its_place_to_the_others_that_a_client_wants(self):
    class Wishes(np.random.Generator):
      def dirichlet(self, alpha, size):
        return np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])

    labels = np.repeat([0, 1, 2], [10, 10, 4])  # the first client takes all of class 0, and class 1 or 2 for the rest
    first, second = partitions.dirichlet(dirichlet_balanced=True).split(labels, 2, Wishes(np.random.PCG64(0)))
    assert np.bincount(labels[first])[0] == 10
    assert len(first) == len(second) == 12
    assert 0 not in labels[second]

  def test_a_small_alpha_leaves_one_class_to_most_clients(self):
    clients = self.split(dirichlet_alpha=1e-6)[:20]  # a fifth of a class each
    assert [len(np.unique(LABELS[rows])) for rows in clients] == [1] * 20
