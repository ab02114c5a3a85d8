# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from femnist_made import write_sqlite, writers

from fedprox_tff.core.errors import DataError, UserError
from fedprox_tff.datasets import DATASETS, femnist_files
from fedprox_tff.datasets.femnist import deal
from tests.federations import load

TRAIN, TEST = writers(8, (60, 10))
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 10_000))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp('femnist')
  write_sqlite(path / femnist_files.SQLITE, TRAIN, TEST)
  return str(path)


def hands(num_clients=200, held=3, seed=0, labels=LABELS):
  return deal(labels, num_clients, held, np.random.default_rng(seed))


class TestTheRuleOfThePaper:
  def test_client_u_holds_the_letters_u_to_u_plus_2_in_equal_numbers(self):
    for client, rows in enumerate(hands()):
      counts = np.bincount(LABELS[rows], minlength=10)
      assert set(np.flatnonzero(counts)) == {(client + which) % 10 for which in range(3)}
      assert len(set(counts[counts > 0])) == 1
      assert counts.max() >= 2

  def test_numbers_are_a_third_of_log_normal_draws_and_5(self):
    sizes = np.random.default_rng(4).lognormal(4.0, 1.0, 200) + 5
    assert [len(rows) for rows in hands(seed=4)] == [3 * max(int(size / 3), 2) for size in sizes]

  def test_totals_are_near_the_papers(self):
    # 18,345 samples, 92 on average and 159 of deviation: draws of a mean of about 94 and a deviation of about 118.
    totals = [sum(map(len, hands(seed=seed))) for seed in range(40)]
    assert 17_500 < np.mean(totals) < 19_500
    assert min(totals) < 18_345 < max(totals)

  def test_five_letters_as_the_papers_text_says(self):
    sizes = np.random.default_rng(0).lognormal(4.0, 1.0, 200) + 5
    for client, rows in enumerate(hands(held=5)):
      counts = np.bincount(LABELS[rows], minlength=10)
      assert set(np.flatnonzero(counts)) == {(client + which) % 10 for which in range(5)}
      assert counts.max() == max(int(sizes[client] / 5), 2)

  def test_no_image_is_dealt_twice_and_a_letters_first_come_first(self):
    rows = np.concatenate(hands())
    assert len(np.unique(rows)) == len(rows)
    for letter in range(10):
      dealt = np.sort(rows[LABELS[rows] == letter])
      assert np.array_equal(dealt, np.flatnonzero(letter == LABELS)[: len(dealt)])

  def test_a_client_has_its_images_in_a_random_order(self):
    correlations = [np.corrcoef(rows, np.arange(len(rows)))[0, 1] for rows in hands() if len(rows) >= 20]
    assert abs(np.mean(correlations)) < 0.1

  def test_what_is_used_up_leaves_late_clients_fewer(self):
    labels = np.repeat(np.arange(10), [40] + [10_000] * 9)
    counts = [np.bincount(labels[rows], minlength=10) for rows in hands(labels=labels, num_clients=50)]
    assert sum(count[0] for count in counts) == 40
    assert counts[49][0] == 0
    assert counts[49][1] >= 2
    with pytest.raises(DataError, match=r'--num_clients=50: 100 images of a to j are used up at client \d+'):
      hands(labels=np.repeat(np.arange(10), 10), num_clients=50)


class TestThePapersSplit:
  def test_holds_the_letters_a_to_j_of_all_writers(self, folder):
    dataset = load('femnist', data_dir=folder, num_clients=3, femnist_classes=2)
    assert dataset.input_shape == dataset.task.input_shape == (28, 28, 1)
    assert dataset.num_classes == 10
    assert dataset.inputs.kind == 'images'
    assert dataset.paper is None
    xs = np.concatenate([x for part in (TRAIN, TEST) for x, _ in part.values()])
    ys = np.concatenate([y for part in (TRAIN, TEST) for _, y in part.values()])
    known = {x.tobytes(): y for x, y in zip(xs, ys, strict=True)}
    for k in range(3):
      for split in (dataset.train, dataset.test):
        x, y = split.client(k)
        assert y.tolist() == [known[image[..., 0].tobytes()] - 36 for image in x]
        assert set(y) <= {k, k + 1}

  def test_trains_on_nine_tenths(self, folder):
    dataset = load('femnist', data_dir=folder, num_clients=3)
    sizes = dataset.train.sizes + dataset.test.sizes
    assert dataset.train.sizes.tolist() == [int(0.9 * n) for n in sizes]

  def test_the_data_seed_selects_it(self, folder):
    first, again, other = (load('femnist', data_dir=folder, num_clients=3, data_seed=seed) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint

  def test_may_take_a_share_of_the_writers(self, folder):
    dataset = load('femnist', data_dir=folder, num_clients=1, femnist_share=0.25)
    images = {image[..., 0].tobytes() for split in (dataset.train, dataset.test) for image in split.examples.x}
    held = [any(x.tobytes() in images for x in np.concatenate([TRAIN[name][0], TEST[name][0]])) for name in TRAIN]
    assert 1 <= sum(held) <= 2


class TestWriters:
  def test_are_clients_with_all_classes_as_the_file_splits_them(self, folder):
    dataset = load('femnist', data_dir=folder, femnist_split='writers')
    assert dataset.client_ids == tuple(sorted(TRAIN))
    assert dataset.num_classes == 62
    assert dataset.train.sizes.tolist() == [60] * 8
    assert dataset.test.sizes.tolist() == [10] * 8
    assert dataset.train.client(2).y.tolist() == TRAIN[dataset.client_ids[2]][1].tolist()
    assert np.array_equal(dataset.test.client(5).x[..., 0], TEST[dataset.client_ids[5]][0])

  def test_a_share_of_them_is_drawn(self, folder):
    drawn = [
      load('femnist', data_dir=folder, femnist_split='writers', femnist_share=0.3, data_seed=seed).client_ids
      for seed in range(20)
    ]
    assert {len(ids) for ids in drawn} == {2}  # of 8
    assert all(list(ids) == sorted(ids) for ids in drawn)
    assert len(set(drawn)) > 10
    assert load('femnist', data_dir=folder, femnist_split='writers', femnist_share=0.01).num_clients == 1


def test_titles_and_learning_rates():
  made = DATASETS['femnist']
  assert (made().title, made().learning_rate, made().num_clients) == ('FEMNIST', 0.003, 200)
  assert made(femnist_classes=5, num_clients=50).title == 'FEMNIST, 5 letters a client'
  assert made(femnist_classes=5, num_clients=50).num_clients == 50
  by_writer = made(femnist_split='writers', femnist_share=0.05)
  assert by_writer.title == 'FEMNIST by writer, 0.05 of the writers'
  assert (by_writer.learning_rate, by_writer.num_clients) == (0.01, None)


@pytest.mark.parametrize(
  ('flags', 'match'),
  [
    ({'femnist_split': 'writers', 'num_clients': 5}, '--femnist_split=writers: its clients are the writers'),
    ({'femnist_split': 'writers', 'femnist_classes': 5}, '--femnist_split=writers: its clients are the writers'),
    ({'femnist_split': 'writers', 'femnist_share': 0}, r'--femnist_share=0\.0: a share above 0 is needed'),
    ({'femnist_classes': 11}, '--femnist_classes=11: a whole number from 1 to 10'),
    ({'partition': 'iid'}, '--partition=iid: dataset femnist comes split over clients'),
  ],
)
def test_flags_that_do_not_go_together_are_refused(flags, match, folder):
  with pytest.raises(UserError, match=match):
    load('femnist', data_dir=folder, **flags)
