# SPDX-License-Identifier: Apache-2.0
"""A network with a data set's own preparation in front of it: bytes become standardised pixels in the graph.

Examples stay as small in memory as they came, and a local step may see each of them a little differently.
"""

from fedprox_tff.core import draws
from fedprox_tff.core.task import Inputs
from fedprox_tff.models.base import Model


def prepared(model: Model, inputs: Inputs, *, input_shape: tuple[int, ...], input_type: str) -> Model:
  """Returns a model of examples as a data set keeps them.

  Args:
    model: The network, which takes floats of `Task.input_shape`, or whole numbers as they are.
    inputs: What the data set says of its examples.
    input_shape: The shape of one example's x as it is kept.
    input_type: numpy's name of the type of x.

  Raises:
    ValueError: If a mixture of models is to see augmented examples.
  """
  model = model._replace(input_shape=input_shape, input_type=input_type)
  if inputs.prepare is None and inputs.augment is None:
    return model
  if model.component_logits is not None and inputs.augment is not None:
    raise ValueError('A mixture of models cannot learn from augmented examples, whose shares in it would change.')

  def prepare(x):
    return x if inputs.prepare is None else inputs.prepare(x)

  def train_logits(weights, x, mask, key):
    inner = draws.fold(key, 1) if model.draws else None  # the augmentation's own draws are of the key itself
    x = prepare(x) if inputs.augment is None else inputs.augment(x, key)
    if model.train_logits is None:
      return model.step_logits(weights, x), {}
    return model.train_logits(weights, x, mask, inner)

  components, joint = model.component_logits, model.joint_logits
  return model._replace(
    logits=lambda weights, x: model.logits(weights, prepare(x)),
    step_logits=lambda weights, x: model.step_logits(weights, prepare(x)),
    component_logits=components and (lambda weights, x: components(weights, prepare(x))),
    joint_logits=joint and (lambda weights, x: joint(weights, prepare(x))),
    train_logits=None if model.train_logits is None and inputs.augment is None else train_logits,
    draws=model.draws or inputs.augment is not None,
  )
