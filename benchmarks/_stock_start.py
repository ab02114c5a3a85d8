# SPDX-License-Identifier: Apache-2.0
"""A round of TFF's stock FedAvg as its tutorials write it, for `benchmarks.start_up`.

Ten clients have 69 images each, the mean of MNIST's federation; they are noise, so that no data are read.
"""

import collections

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

CLIENTS, IMAGES, EPOCHS, BATCH = 10, 69, 20, 10
SPEC = collections.OrderedDict(x=tf.TensorSpec([None, 28, 28, 1], tf.float32), y=tf.TensorSpec([None], tf.int32))


def model_fn() -> tff.learning.models.VariableModel:
  """Returns a logistic regression."""
  layers = [tf.keras.layers.InputLayer((28, 28, 1)), tf.keras.layers.Flatten(), tf.keras.layers.Dense(10)]
  loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
  return tff.learning.models.from_keras_model(tf.keras.Sequential(layers), loss=loss, input_spec=SPEC)


def main() -> None:
  """Trains."""
  rng = np.random.default_rng(0)
  clients = [
    tf.data.Dataset.from_tensor_slices(
      collections.OrderedDict(
        x=rng.standard_normal((IMAGES, 28, 28, 1), np.float32), y=rng.integers(0, 10, IMAGES, np.int32)
      )
    )
    .shuffle(IMAGES)
    .batch(BATCH)
    .repeat(EPOCHS)
    for _ in range(CLIENTS)
  ]
  process = tff.learning.algorithms.build_weighted_fed_avg(
    model_fn,
    client_optimizer_fn=tff.learning.optimizers.build_sgdm(0.03),
    server_optimizer_fn=tff.learning.optimizers.build_sgdm(1.0),
  )
  _, metrics = process.next(process.initialize(), clients)
  print('round 1', metrics['client_work'], flush=True)
  # TFF fails to end the worker of its default context when the interpreter ends. It does end that of one it replaces.
  tff.backends.native.set_sync_local_cpp_execution_context()


if __name__ == '__main__':
  main()
