# SPDX-License-Identifier: Apache-2.0
"""Runs that follow each other in one process have the bits that each has alone, whatever they differ in."""

import numpy as np
import pytest

from fedprox_tff.config.record import Config
from fedprox_tff.core.task import Inputs
from fedprox_tff.datasets.base import Examples, FederatedDataset, split_from_clients
from fedprox_tff.datasets.image_inputs import colour_inputs
from fedprox_tff.federated import runtimes
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.training.builder import Builder

BASE = {'dataset': 'digits', 'clients_per_round': 2, 'epochs': 1, 'batch_size': 4}


def federation(draw, num_classes, **values):
  """Returns three clients of six training and four test examples, whose x `draw` makes of a generator and a size."""
  rng = np.random.default_rng(0)
  splits = [
    split_from_clients(
      [Examples(draw(rng, size), rng.integers(0, num_classes, size).astype(np.int32)) for _ in range(3)]
    )
    for size in (6, 4)
  ]
  return FederatedDataset('made', ('a', 'b', 'c'), *splits, num_classes, 'made', **values)


def measurements():
  return federation(lambda rng, size: rng.normal(size=(size, 5)).astype(np.float32), 3)


def images(augmentation):
  inputs = colour_inputs(augmentation, (32, 32, 3), mean=(0.5,) * 3, deviation=(0.25,) * 3)
  return federation(lambda rng, size: rng.integers(0, 256, (size, 32, 32, 3), np.uint8), 3, inputs=inputs)


def texts(size=None, seed=1):
  """Returns texts of words that have vectors of some size, or none."""
  vectors = None if size is None else np.random.default_rng(seed).normal(size=(7, size)).astype(np.float32)
  inputs = Inputs('tokens', vocabulary=7, vectors=vectors)
  return federation(lambda rng, size: rng.integers(0, 7, (size, 4)).astype(np.int32), 2, inputs=inputs)


KERAS = """
import tensorflow as tf


def network(input_shape, num_classes):
  hidden = tf.keras.layers.Dense(4, activation='relu', trainable=False)
  return tf.keras.Sequential([tf.keras.layers.InputLayer(input_shape), hidden, tf.keras.layers.Dense(num_classes)])
"""


def results(builder, flags, dataset):
  """Returns what a round of a run comes to: the weights, and what the evaluations say of them."""
  config = Config.from_flags(BASE | flags)
  experiment = builder.build(config, dataset)
  kept = experiment.initial_client_state
  payloads = [
    client_payload(dataset.train.client(k)._asdict(), num_epochs=1, batch_size=4, key=(config.seed, 1, k), state=kept)
    for k in range(2)
  ]
  state = experiment.process.next(experiment.initial_state, payloads)[0]
  weights = experiment.process.get_model_weights(state).trainable
  said = [*experiment.evaluate_train(weights), *experiment.evaluate_test(weights), *experiment.dissimilarity(weights)]
  if experiment.evaluate_personal is not None:
    said += experiment.evaluate_personal(weights, {0: kept})
  return b''.join(np.asarray(each).tobytes() for each in (*weights, *said))


def assert_each_as_alone(runs):
  """Runs runs that all differ in one process, and each but the first, which nothing precedes, in one of its own."""
  with runtimes.use('in_process'):
    builder = Builder()
    together = [results(builder, *run) for run in runs]
  for run, result in list(zip(runs, together, strict=True))[1:]:
    with runtimes.use('in_process'):
      assert result == results(Builder(), *run)
  assert len(set(together)) == len(runs)


@pytest.mark.parametrize(
  ('flags', 'changes'),
  [
    ({}, [{}, {'clip_norm': 0.01}, {'clip_norm': 0.02}, {'l2': 0.5}, {'evaluation_examples': 5}]),
    ({'algorithm': 'fedbn', 'model': 'mlp_bn'}, [{'hidden_units': 3}, {'hidden_units': 4}]),
  ],
)
def test_values_of_flags(flags, changes):
  dataset = measurements()
  assert_each_as_alone([(flags | change, dataset) for change in changes])


def test_augmentations():
  assert_each_as_alone([({}, images(augmentation)) for augmentation in ('none', 'crop_flip', 'federatedx')])


def test_texts_with_vectors_of_words_and_without():
  """With vectors the network has other weights, and these differ in size or in values."""
  flags = {'model': 'lstm_sentiment', 'hidden_units': 2, 'num_layers': 1, 'embedding_size': 3}
  assert_each_as_alone([(flags, dataset) for dataset in (texts(), texts(3), texts(3, seed=2))])


@pytest.mark.parametrize('algorithm', ['fedprox', 'fedavg_ft'])
def test_seeds_of_a_network_that_has_frozen_weights_of_its_own(tmp_path, algorithm):
  """A client adapts them to its own examples, too, where it does."""
  file = tmp_path / 'frozen.py'
  file.write_text(KERAS)
  dataset, flags = measurements(), {'algorithm': algorithm, 'model': f'{file}:network'}
  assert_each_as_alone([(flags | {'seed': seed}, dataset) for seed in (0, 1)])
