# SPDX-License-Identifier: Apache-2.0
"""Whatever model somebody has, as client work sees it."""

from collections.abc import Callable

import tensorflow_federated as tff

from fedprox_tff.federated import suite_model, tff_model
from fedprox_tff.federated.client_model import LocalModel
from fedprox_tff.models.base import Model

TffModel = tff.learning.models.FunctionalModel | Callable[[], tff.learning.models.VariableModel]


def local_model(model: Model | TffModel | LocalModel) -> LocalModel:
  """Adapts a model.

  Args:
    model: A `Model` of this suite, a `tff.learning.models.FunctionalModel`, or a function without arguments that
      returns a new `tff.learning.models.VariableModel`. A `LocalModel` stays as it is.
  """
  if isinstance(model, LocalModel):
    return model
  if isinstance(model, Model):
    return suite_model.of_suite(model)
  if isinstance(model, tff.learning.models.FunctionalModel):
    return tff_model.of_functional(model)
  return tff_model.of_variable(model)
