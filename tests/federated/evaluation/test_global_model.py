# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from fedprox_tff.core.task import Task
from fedprox_tff.datasets.base import Examples
from fedprox_tff.federated.evaluation.global_model import Evaluator
from fedprox_tff.models import logistic

MODEL = logistic().build(Task((4,), 3), seed=0)
ALWAYS_1 = (np.zeros((3, 4), np.float32), np.array([0, 1, 0], np.float32))  # weights whose largest logit is label 1's


def examples(n):
  rng = np.random.default_rng(0)
  return Examples(rng.normal(size=(n, 4)).astype('f'), rng.integers(0, 3, n).astype('i'))


def p10(clients, chunk=1024):
  """Returns the measured percentile where client k is right about the ones of clients[k], such as '1101'."""
  y = np.array([int(label) for client in clients for label in client], np.int32)
  offsets = np.cumsum([0, *map(len, clients)])
  return Evaluator(MODEL._replace(chunk=chunk), Examples(np.ones((len(y), 4), np.float32), y), offsets)(
    ALWAYS_1
  ).accuracy_p10


@pytest.mark.parametrize('chunk', [7, 1000])
def test_is_the_mean_over_examples_whatever_the_chunks(chunk):
  x, y = examples(50)
  kernel, bias = (w.astype(np.float64) for w in MODEL.initial_weights)
  logits = x @ kernel.T + bias
  log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
  result = Evaluator(MODEL._replace(chunk=chunk), Examples(x, y))(MODEL.initial_weights)
  assert result.loss == pytest.approx(-log_p[np.arange(50), y].mean(), rel=1e-6)
  assert result.accuracy == (logits.argmax(axis=1) == y).mean()


def test_of_no_examples_is_not_a_number():
  assert all(map(math.isnan, Evaluator(MODEL, examples(0))(MODEL.initial_weights)))
  assert all(map(math.isnan, Evaluator(MODEL, examples(0), np.zeros(3, int))(MODEL.initial_weights)))


@pytest.mark.parametrize('chunk', [3, 1000])
def test_percentile_of_eleven_clients_is_the_second_lowest(chunk):
  assert p10(['1', '11', '1', '111', '10', '1', '1', '00', '1', '11', '1'], chunk) == 0.5


def test_percentile_lies_between_two_clients():
  """Of 2/3, 3/4 and 1 it is the place 0.1 * 2: a fifth of the way from 2/3 to 3/4."""
  assert p10(['1', '110', '1110']) == pytest.approx(2 / 3 + 0.2 * (3 / 4 - 2 / 3), rel=1e-12)


def test_percentile_counts_each_client_once_and_not_its_examples():
  assert p10(['0' * 90, '1']) == pytest.approx(0.1, rel=1e-12)


def test_percentile_leaves_out_clients_without_examples():
  assert p10(['', '10', '', '', '11', '']) == pytest.approx(0.55, rel=1e-12)
  assert p10(['10']) == 0.5


def test_offsets_change_nothing_else():
  result = Evaluator(MODEL, examples(50))(MODEL.initial_weights)
  assert math.isnan(result.accuracy_p10)
  assert Evaluator(MODEL, examples(50), np.array([0, 20, 50]))(MODEL.initial_weights)[:2] == result[:2]


def models(count):
  """Returns weights of models that all differ."""
  rng = np.random.default_rng(2)
  return [tuple(rng.normal(size=w.shape).astype('f') for w in MODEL.initial_weights) for _ in range(count)]


def test_several_models_at_once_are_evaluated_as_each_alone():
  """Eleven are two passes, the second of which is filled up."""
  evaluate = Evaluator(MODEL._replace(chunk=7), examples(50), np.array([0, 20, 50]))
  assert evaluate.at_once == 8
  together = evaluate.of_several(models(11))
  for several, alone in zip(together, map(evaluate, models(11)), strict=True):
    assert several.loss == pytest.approx(alone.loss, rel=1e-6)
    assert several[1:] == alone[1:]
  assert len({each.loss for each in together}) == 11


def test_the_bits_of_an_evaluation_do_not_depend_on_its_company():
  evaluate = Evaluator(MODEL._replace(chunk=7), examples(50), np.array([0, 20, 50]))
  together = evaluate.of_several(models(11))
  assert [evaluate.of_several([each])[0] for each in models(11)] == together
  assert evaluate.of_several(models(11)[::-1])[::-1] == together
  assert evaluate.of_several([]) == []


def test_several_models_are_evaluated_one_by_one_where_that_is_as_fast():
  evaluate = Evaluator(MODEL._replace(joint_logits=None), examples(50))
  assert evaluate.at_once == 1
  assert [each[:2] for each in evaluate.of_several(models(3))] == [evaluate(each)[:2] for each in models(3)]


def test_several_models_on_no_examples():
  assert all(math.isnan(value) for each in Evaluator(MODEL, examples(0)).of_several(models(2)) for value in each)
