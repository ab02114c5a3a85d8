# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from fedprox_tff.datasets.base import Examples
from fedprox_tff.federated import evaluation
from fedprox_tff.federated.evaluation import build_evaluation
from fedprox_tff.models import logistic

MODEL = logistic((4,), 3, seed=0)


def examples(n):
  rng = np.random.default_rng(0)
  return Examples(rng.normal(size=(n, 4)).astype('f'), rng.integers(0, 3, n).astype('i'))


@pytest.mark.parametrize('chunk', [7, 1000])
def test_is_the_mean_over_examples_whatever_the_chunks(monkeypatch, chunk):
  monkeypatch.setattr(evaluation, '_CHUNK', chunk)
  x, y = examples(50)
  kernel, bias = (w.astype(np.float64) for w in MODEL.initial_weights)
  logits = x @ kernel.T + bias
  log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
  result = build_evaluation(MODEL, Examples(x, y))(MODEL.initial_weights)
  assert result.loss == pytest.approx(-log_p[np.arange(50), y].mean(), rel=1e-6)
  assert result.accuracy == (logits.argmax(axis=1) == y).mean()


def test_of_no_examples_is_not_a_number():
  result = build_evaluation(MODEL, examples(0))(MODEL.initial_weights)
  assert math.isnan(result.loss)
  assert math.isnan(result.accuracy)
