# SPDX-License-Identifier: Apache-2.0
"""Flower's part of `benchmarks.others`, for an interpreter that has it: python _flower.py GIVEN.npz RESULT.json.

Its server draws no clients here: it tells each of K nodes which client to be. Clients train in numpy, on one core each,
in Flower's simulation on Ray.
"""

import functools
import json
import os
import pathlib
import statistics
import sys
import time

os.environ.setdefault('FLWR_TELEMETRY_ENABLED', '0')
os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

client_app = ClientApp()


@functools.cache
def read(path: str) -> dict[str, np.ndarray]:
  """Reads what was given; a process of Ray's does so once."""
  return dict(np.load(path))


@client_app.train()
def train(message: Message, context: Context) -> Message:
  """Trains as the client that the message names."""
  del context
  config = message.content['config']
  arrays = read(config['path'])
  kernel, bias = (array.copy() for array in message.content['arrays'].to_numpy_ndarrays())
  rows = slice(*arrays['train_offsets'][config['client'] : config['client'] + 2])
  x, y = arrays['train_x'][rows].reshape(rows.stop - rows.start, -1), arrays['train_y'][rows]
  for batch in batches(len(y), (*arrays['shuffle_key'], config['round'], config['client']), arrays):
    error = softmax(x[batch] @ kernel + bias)
    error[np.arange(len(batch)), y[batch]] -= 1
    error *= np.float32(arrays['learning_rate'] / len(batch))
    kernel -= x[batch].T @ error
    bias -= error.sum(axis=0)
  metrics = MetricRecord({'num-examples': len(y)})
  return Message(RecordDict({'arrays': ArrayRecord([kernel, bias]), 'metrics': metrics}), reply_to=message)


def batches(num_examples: int, key: tuple[int, ...], arrays: dict[str, np.ndarray]):
  """Yields the rows of each batch: in each epoch a fresh shuffle, as fedprox_tff.federated.payloads draws it."""
  rows = np.tile(np.arange(num_examples, dtype=np.int32), (arrays['epochs'], 1))
  for epoch in np.random.default_rng(key).permuted(rows, axis=1):
    yield from np.split(epoch, range(arrays['batch_size'], num_examples, arrays['batch_size']))


def softmax(logits: np.ndarray) -> np.ndarray:
  """Returns the shares of the classes."""
  shares = np.exp(logits - logits.max(axis=1, keepdims=True))
  return shares / shares.sum(axis=1, keepdims=True)


def evaluate(weights: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
  """Returns loss and accuracy over all examples."""
  kernel, bias = weights
  shares = softmax(x.reshape(len(x), -1) @ kernel + bias)
  return float(-np.log(shares[np.arange(len(y)), y]).mean()), float((shares.argmax(axis=1) == y).mean())


class GivenCohorts(FedAvg):
  """FedAvg over cohorts that were drawn elsewhere."""

  def __init__(self, path: str):
    self.path, self.cohorts = path, read(path)['cohorts']
    size = self.cohorts.shape[1]
    super().__init__(fraction_evaluate=0.0, min_train_nodes=size, min_available_nodes=size)

  def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> list[Message]:
    """Names the clients of a round."""
    del config
    return [
      Message(
        RecordDict(
          {
            'arrays': arrays,
            'config': ConfigRecord({'path': self.path, 'round': server_round, 'client': int(client)}),
          }
        ),
        message_type=MessageType.TRAIN,
        dst_node_id=node,
      )
      for node, client in zip(grid.get_node_ids(), self.cohorts[server_round - 1], strict=True)
    ]


def server(path: str, result: str, start: float) -> ServerApp:
  """Returns the server, which writes the result."""
  app = ServerApp()

  @app.main()
  def main(grid: Grid, context: Context) -> None:
    del context
    arrays, times, measured = read(path), [], []
    cohorts = arrays['cohorts']
    while len(list(grid.get_node_ids())) < cohorts.shape[1]:  # its nodes register one after another
      time.sleep(0.05)

    def after_round(round_num: int, record: ArrayRecord) -> None:
      if round_num % arrays['rounds_per_evaluation'] == 0 or round_num == len(cohorts):
        weights = record.to_numpy_ndarrays()
        measured[:] = [evaluate(weights, arrays[f'{name}_x'], arrays[f'{name}_y']) for name in ('train', 'test')]
      times.append(time.perf_counter())

    initial = ArrayRecord([arrays['kernel'].T.copy(), arrays['bias']])
    GivenCohorts(path).start(grid, initial, num_rounds=len(cohorts), evaluate_fn=after_round)
    sizes = np.diff(arrays['train_offsets'])[cohorts]
    (train_loss, _), (_, test_accuracy) = measured
    report = {
      'seconds': times[-1] - start,
      'round': statistics.median(np.diff(times)),
      'steps': int(arrays['epochs'] * np.ceil(sizes / arrays['batch_size']).sum()),
      'train_loss': train_loss,
      'test_accuracy': test_accuracy,
    }
    pathlib.Path(result).write_text(json.dumps(report))

  return app


def main() -> None:
  """Trains on what was given."""
  given, result = sys.argv[1:]
  nodes = read(given)['cohorts'].shape[1]
  resources = {'client_resources': {'num_cpus': 1, 'num_gpus': 0.0}}
  app = server(given, result, time.perf_counter())
  run_simulation(app, client_app, num_supernodes=nodes, backend_config=resources)


if __name__ == '__main__':
  import _flower  # by its name, so that Ray's processes import it once, instead of getting a copy with each message

  _flower.main()
