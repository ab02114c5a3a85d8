# SPDX-License-Identifier: Apache-2.0
"""FedEM (Marfoq et al., "Federated Multi-Task Learning under a Mixture of Distributions", NeurIPS 2021,
arXiv:2108.10252).

The server has M models, theta_m; client k mixes their probabilities by weights pi_k of its own, 1/M at first:
p(y | x) = sum_m pi_k(m) p_m(y | x). When a round begins, it finds out how much each model is responsible for each of
its examples, and its new weights:

    q_i(m) = pi_k(m) exp(-loss_m(i)) / sum_m' pi_k(m') exp(-loss_m'(i)),    pi_k(m) = mean_i q_i(m);

then every model takes local steps on 1/B sum_{i in batch} q_i(m) loss_m(i), q staying as it is, and the server averages
each by n_k. Losses are in evaluation mode. The models start at different weights, for equal ones would stay equal.
"""

from typing import Annotated

import numpy as np

from fedprox_tff.algorithms.base import Algorithm, ClientRule, Examples, Hparams, Local, Needs, Report, Start
from fedprox_tff.core import tree


def fedem(*, num_components: Annotated[int, (1, 100)] = 3) -> Algorithm:
  """Returns FedEM.

  Args:
    num_components: M, the number of models, each as large as --model; the authors'. 1 is FedAvg. Each is a part of the
      graph of a step, so that there cannot be many.
  """

  def start(local: Local, examples: Examples, hparams: Hparams) -> Start:
    del hparams
    (pi,) = local.state
    q = tree.softmax(tree.log(pi) - examples.losses(local.anchor))
    return Start(local.anchor, example_weights=q, constants=(tree.mean_of_rows(q),))

  def finish(local: Local, examples: Examples, hparams: Hparams) -> Report:
    del examples, hparams
    return Report(tree.sub(local.anchor, local.weights), state=local.constants)

  return Algorithm(
    name='fedem',
    title='FedEM',
    client=ClientRule(
      init=lambda local: (np.full(num_components, 1 / num_components, np.float32),),
      start=start,
      finish=finish,
      personal=lambda local: (*local.weights, *local.state),
    ),
    needs=Needs(components=num_components),
  )
