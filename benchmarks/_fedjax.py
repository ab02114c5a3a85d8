# SPDX-License-Identifier: Apache-2.0
"""FedJAX's part of `benchmarks.others`, for an interpreter that has it: python _fedjax.py GIVEN.npz RESULT.json."""

import json
import pathlib
import statistics
import sys
import time

import fedjax
import jax
import jax.numpy as jnp
import numpy as np


def losses_of(params, x, y):
  """Returns the cross-entropy of each example, and the logits."""
  logits = x.reshape(len(x), -1) @ params['kernel'] + params['bias']
  return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1)[:, 0], logits


def batch_loss(params, batch, rng):
  """Returns the mean cross-entropy of a batch."""
  del rng
  return losses_of(params, batch['x'], batch['y'])[0].mean()


@jax.jit
def evaluate(params, x, y):
  """Returns loss and accuracy over all examples."""
  losses, logits = losses_of(params, x, y)
  return losses.mean(), (logits.argmax(axis=1) == y).mean()


def main() -> None:
  """Trains on what was given."""
  given, result = sys.argv[1:]
  arrays = dict(np.load(given))
  x, y, offsets = (arrays[f'train_{name}'] for name in ('x', 'y', 'offsets'))
  batching = fedjax.ShuffleRepeatBatchHParams(
    batch_size=arrays['batch_size'].item(), num_epochs=arrays['epochs'].item(), drop_remainder=False, seed=0
  )
  start = time.perf_counter()
  algorithm = fedjax.algorithms.fed_avg.federated_averaging(
    grad_fn=jax.grad(batch_loss),
    client_optimizer=fedjax.optimizers.sgd(arrays['learning_rate'].item()),
    server_optimizer=fedjax.optimizers.sgd(1.0),
    client_batch_hparams=batching,
  )
  state = algorithm.init({'kernel': jnp.asarray(arrays['kernel'].T), 'bias': jnp.asarray(arrays['bias'])})
  splits = [[jnp.asarray(arrays[f'{name}_{key}']) for key in ('x', 'y')] for name in ('train', 'test')]
  steps, times = 0, [time.perf_counter()]
  measured = [evaluate(state.params, *split) for split in splits]
  for round_num, cohort in enumerate(arrays['cohorts'], start=1):
    clients = []
    for client in cohort:
      rows = slice(offsets[client], offsets[client + 1])
      data = fedjax.ClientDataset({'x': x[rows], 'y': y[rows]})
      clients.append((client, data, jax.random.PRNGKey(0)))
      steps += -(-batching.num_epochs * len(data) // batching.batch_size)
    state, _ = algorithm.apply(state, clients)
    jax.block_until_ready(state.params)
    if round_num % arrays['rounds_per_evaluation'] == 0 or round_num == len(arrays['cohorts']):
      measured = [[float(value) for value in evaluate(state.params, *split)] for split in splits]
    times.append(time.perf_counter())
  report = {'seconds': times[-1] - start, 'round': statistics.median(np.diff(times)), 'steps': steps}
  (report['train_loss'], _), (_, report['test_accuracy']) = measured
  pathlib.Path(result).write_text(json.dumps(report))


if __name__ == '__main__':
  main()
