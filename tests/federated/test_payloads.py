# SPDX-License-Identifier: Apache-2.0
import collections

import numpy as np
import pytest
import tensorflow as tf

from fedprox_tff.core.batches import BLOCK
from fedprox_tff.federated.payloads import batch_order, client_payload, padded_batches, without_steps


def examples(n):
  return collections.OrderedDict(x=np.arange(2 * n, dtype=np.float32).reshape(n, 2), y=np.arange(n, dtype=np.int32))


def payload(n=23, **kwargs):
  return client_payload(examples(n), num_epochs=3, batch_size=10, key=(0, 1, 2), **kwargs)


@pytest.mark.parametrize(('n', 'batches'), [(0, 4), (1, 4), (40, 4), (41, 16), (160, 16), (161, 64), (2600, 1024)])
def test_few_padded_sizes(n, batches):
  assert padded_batches(n, 10) == batches


def test_an_epoch_is_a_shuffle_cut_into_batches():
  order = batch_order(23, num_epochs=5, batch_size=10, key=(0, 1, 2))
  assert order.shape == (5 * 3, 10)
  epochs = order.reshape(5, 30)
  for epoch in epochs:
    assert sorted(epoch[:23]) == list(range(23))  # every example once in every epoch
    assert not epoch[23:].any()
  assert len({tuple(epoch[:23]) for epoch in epochs}) == 5  # and each in another order


def test_order_is_pure_in_its_key():
  settings = {'num_epochs': 2, 'batch_size': 10}
  first = batch_order(23, key=(0, 1, 2), **settings)
  np.testing.assert_array_equal(first, batch_order(23, key=(0, 1, 2), **settings))
  for other in ((1, 1, 2), (0, 2, 2), (0, 1, 3)):
    assert (first != batch_order(23, key=other, **settings)).any()


def test_a_longer_budget_begins_with_the_shorter_ones_batches():
  settings = {'batch_size': 10, 'key': (0, 1, 2)}
  np.testing.assert_array_equal(
    batch_order(23, num_epochs=20, **settings)[: 5 * 3], batch_order(23, num_epochs=5, **settings)
  )


def test_defaults_are_all_epochs_and_the_number_of_examples():
  context = payload()['context'][0]
  assert (context['num_examples'], context['num_steps'], context['weight']) == (23, 3 * 3, 23.0)


@pytest.mark.parametrize('num_steps', [1, 4, 9])
def test_weight_does_not_depend_on_the_budget(num_steps):
  assert payload(num_steps=num_steps)['context'][0]['weight'] == 23.0


def test_no_budget_is_no_weight():
  assert payload(num_steps=0)['context'][0]['weight'] == 0.0


def test_examples_come_first_and_padding_after():
  padded = payload()['examples'][0]
  assert padded['x'].shape == (40, 2)
  np.testing.assert_array_equal(padded['x'][:23], examples(23)['x'])
  assert not padded['x'][23:].any()


@pytest.mark.parametrize(('num_steps', 'epochs'), [(0, 0), (1, 1), (3, 1), (4, 2), (9, 3)])
def test_the_order_has_the_epochs_that_are_begun_and_whole_blocks(num_steps, epochs):
  order = payload(num_steps=num_steps)['context'][0]['order']
  drawn = batch_order(23, num_epochs=epochs, batch_size=10, key=(0, 1, 2))
  np.testing.assert_array_equal(order[: len(drawn)], drawn)
  assert len(order) == (BLOCK if num_steps else 0)
  assert not order[len(drawn) :].any()


@pytest.mark.parametrize('batch_size', ['all', 23, 300, 10**9, 2**40])
def test_a_batch_larger_than_a_client_is_all_that_it_has(batch_size):
  result = client_payload(examples(23), num_epochs=3, batch_size=batch_size, key=(0, 1, 2))
  context, data = result['context'][0], result['examples'][0]
  assert (context['num_steps'], context['num_examples']) == (3, 23)
  assert context['order'].shape == (256, 23 if batch_size == 23 else 256)
  assert len(data['y']) <= 4 * 256
  for epoch in range(3):
    assert sorted(context['order'][epoch, :23]) == list(range(23))


def test_wide_batches_are_few_in_a_block_and_in_few_widths():
  shapes = {}
  for n in (100, 256, 257, 1024, 1025, 4096, 4097, 70_000):
    payload = client_payload(examples(n), num_epochs=3, batch_size=5000, key=(0,))
    shapes[n] = payload['context'][0]['order'].shape
    assert payload['context'][0]['num_steps'] == (3 if n <= 5000 else 3 * 14)
  assert shapes == {
    100: (256, 256), 256: (256, 256), 257: (64, 1024), 1024: (64, 1024), 1025: (16, 4096), 4096: (16, 4096),
    4097: (13, 5000), 70_000: (52, 5000),
  }  # fmt: skip


def test_clients_may_share_their_examples():
  shared = examples(100)
  result = client_payload(shared, rows=range(40, 63), num_epochs=3, batch_size=10, key=(0, 1, 2))
  assert result['examples'][0] is shared  # neither copied nor padded
  own, rows = payload()['context'][0], result['context'][0]['order']
  assert (own['first_row'], result['context'][0]['first_row']) == (0, 40)
  for name in ('num_examples', 'num_steps', 'weight'):
    assert result['context'][0][name] == own[name]
  np.testing.assert_array_equal(rows[:9] - 40, own['order'][:9])  # three epochs of three batches


def test_what_a_client_keeps_is_a_part_of_its_own():
  assert payload().keys() == {'examples', 'context'}
  kept = (np.ones(3, np.float32), (np.zeros(()),))
  result = payload(state=kept)
  assert list(result) == ['examples', 'context', 'state']
  assert result['state'][0] is kept
  tf.nest.map_structure(np.testing.assert_array_equal, [result['examples'], result['context']], [*payload().values()])


def test_a_client_without_steps_keeps_its_weight_and_all_else():
  before = payload(weight=7.0, state=(np.ones(3, np.float32),))
  after = without_steps(before)
  assert after['examples'] is before['examples']
  assert after['state'] is before['state']
  (context,) = after['context']
  assert context['num_steps'] == 0
  assert context['order'].shape == (0, 10)
  for name in ('num_examples', 'first_row', 'weight'):
    assert context[name] == before['context'][0][name]
  assert before['context'][0]['num_steps'] == 9  # which is as it was


def test_a_data_set_gives_the_same_payload_as_its_arrays():
  from_dataset = client_payload(
    tf.data.Dataset.from_tensor_slices(examples(23)), num_epochs=3, batch_size=10, key=(0, 1, 2)
  )
  tf.nest.map_structure(np.testing.assert_array_equal, from_dataset, payload())


def test_an_empty_data_set_is_a_client_without_work():
  empty = tf.data.Dataset.from_tensor_slices(examples(23)).take(0)
  result = client_payload(empty, num_epochs=3, batch_size=10, key=(0,))
  assert result['context'][0]['num_steps'] == result['context'][0]['weight'] == 0
  assert result['examples'][0]['x'].shape == (40, 2)


@pytest.mark.parametrize(
  ('wrong', 'message'),
  [
    ({'num_steps': 10}, 'num_steps=10: from 0 to the 9 of 3 epochs'),
    ({'num_steps': -1}, 'num_steps=-1: from 0'),
    ({'weight': -1.0}, 'weight=-1.0: a number of at least 0'),
    ({'weight': float('nan')}, 'weight=nan'),
    ({'batch_size': 0}, 'batch_size=0: at least'),
    ({'examples': {'x': np.zeros((13, 2)), 'y': np.zeros(5)}}, r'one row for each example; theirs are \[5, 13\]'),
    ({'examples': tf.data.Dataset.from_tensor_slices(examples(8)).batch(4)}, r'unbatch\(\) takes batches apart'),
  ],
)
def test_what_would_train_on_something_else_is_refused(wrong, message):
  settings = {'examples': examples(23), 'num_epochs': 3, 'batch_size': 10, 'key': (0,)} | wrong
  with pytest.raises(ValueError, match=message):
    client_payload(settings.pop('examples'), **settings)
