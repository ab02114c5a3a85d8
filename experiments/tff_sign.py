# SPDX-License-Identifier: Apache-2.0
"""Shows the sign of the proximal term in TFF's own FedProx: python -m experiments.tff_sign [--data_dir=...].

Trains on MNIST's power-law federation with mu = 0, 0.01 and 0.1, once with this suite's process and once with
`tff.learning.algorithms.build_weighted_fed_prox`, on the same cohorts, and plots the L2 norm of the mean update
||w^t - w^{t+1}|| and the training loss. The larger mu, the closer clients should stay to the server's weights; with
TFF's sign they end the further away. Writes docs/figures/tff_sign.png and .csv.
"""

import argparse
import collections
import os
import pathlib
import sys

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import matplotlib.pyplot as plt
import pandas as pd
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms import fedprox
from fedprox_tff.config.record import Config
from fedprox_tff.core.errors import UserError
from fedprox_tff.core.task import Task
from fedprox_tff.federated import runtimes
from fedprox_tff.federated.evaluation.global_model import Evaluator
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.federated.process import build_process
from fedprox_tff.federated.suite_model import functional_model
from fedprox_tff.models import logistic
from fedprox_tff.training import data
from fedprox_tff.training.cohort import sample_cohort

ROOT = pathlib.Path(__file__).resolve().parents[1]
EPOCHS, BATCH, LEARNING_RATE, ROUNDS = 20, 10, 0.03, 40
MUS = (0.0, 0.01, 0.1)


def ours(split, model, mu):
  """Returns this suite's process and what makes its payloads."""
  optimizer = tff.learning.optimizers.build_sgdm(LEARNING_RATE)

  def payloads(round_num, clients):
    examples = (split.client(k)._asdict() for k in clients)
    return [
      client_payload(x, num_epochs=EPOCHS, batch_size=BATCH, key=(0, round_num, k))
      for k, x in zip(clients, examples, strict=True)
    ]

  return build_process(fedprox(mu=mu), model, client_optimizer=optimizer), payloads


def builtin(split, model, mu):
  """Returns TFF's process and what makes its data sets."""
  process = tff.learning.algorithms.build_weighted_fed_prox(
    functional_model(model),
    proximal_strength=mu,
    client_optimizer_fn=tff.learning.optimizers.build_sgdm(LEARNING_RATE),
    server_optimizer_fn=tff.learning.optimizers.build_sgdm(1.0),
  )

  def datasets(round_num, clients):
    examples = [collections.OrderedDict(split.client(k)._asdict()) for k in clients]
    return [
      tf.data.Dataset.from_tensor_slices(x).shuffle(len(x['y']), seed=round_num).batch(BATCH).repeat(EPOCHS)
      for x in examples
    ]

  return process, datasets


def curve(process, make_payloads, split, evaluate):
  """Yields each round's number, the norm of its mean update and the training loss after it."""
  state = process.initialize()
  weights = process.get_model_weights(state).trainable
  for round_num in range(1, ROUNDS + 1):
    participants = sample_cohort(
      split.sizes,
      seed=0,
      round_num=round_num,
      clients_per_round=10,
      epochs=EPOCHS,
      batch_size=BATCH,
      stragglers=0.0,
      straggler_policy='partial',
    )
    state, _ = process.next(state, make_payloads(round_num, [p.client for p in participants]))
    before, weights = weights, process.get_model_weights(state).trainable
    norm = tf.linalg.global_norm([a - b for a, b in zip(before, weights, strict=True)])
    yield round_num, float(norm), evaluate(weights).loss


def draw(frame, path):
  """Draws both quantities, ours beside TFF's."""
  plt.style.use(ROOT / 'analysis' / 'paper.mplstyle')
  columns = {'update_norm': r'$\|w^t - w^{t+1}\|$', 'train_loss': 'training loss'}
  figure, axes = plt.subplots(2, 2, figsize=(6.8, 4.4), sharex=True, sharey='row', layout='constrained')
  for column, (name, of_process) in enumerate(frame.groupby('process', sort=False)):
    for row, (quantity, label) in enumerate(columns.items()):
      panel = axes[row, column]
      for mu, of_mu in of_process.groupby('mu'):
        panel.plot(of_mu['round_num'], of_mu[quantity], label=rf'$\mu$ = {mu:g}')
      panel.set_yscale('log')
      if column == 0:
        panel.set_ylabel(label)
    axes[0, column].set_title(name)
    axes[1, column].set_xlabel('rounds')
  axes[0, 0].legend()
  figure.savefig(path, dpi=160)


def main() -> int:
  """Runs the comparison."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--data_dir', help='where MNIST is')
  try:
    split = data.load(Config.from_flags({'dataset': 'mnist', 'data_dir': parser.parse_args().data_dir})).train
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  model = logistic().build(Task((28, 28, 1), 10), seed=0)
  evaluate = Evaluator(model, split.examples)
  rows = []
  for name, build in (('this suite', ours), ('tff.learning.algorithms', builtin)):
    for mu in MUS:
      with runtimes.use('in_process'):
        process, make_payloads = build(split, model, mu)
        for round_num, norm, loss in curve(process, make_payloads, split, evaluate):
          rows.append({'process': name, 'mu': mu, 'round_num': round_num, 'update_norm': norm, 'train_loss': loss})
      print(f'{name}, mu = {mu}: training loss {rows[-1]["train_loss"]:.4g} after {ROUNDS} rounds', flush=True)
  folder = ROOT / 'docs' / 'figures'
  folder.mkdir(parents=True, exist_ok=True)
  frame = pd.DataFrame(rows)
  frame.to_csv(folder / 'tff_sign.csv', index=False, float_format='%.6g')
  draw(frame, folder / 'tff_sign.png')
  print(f'written: {folder / "tff_sign.png"} and .csv')
  return 0


if __name__ == '__main__':
  sys.exit(main())
