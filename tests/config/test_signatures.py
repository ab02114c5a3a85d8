# SPDX-License-Identifier: Apache-2.0
from typing import Annotated, Literal

import pytest

from fedprox_tff.config.signatures import own_flags


def first(
  *,
  strength: float = 0.5,
  share: Annotated[float, (0, 1)] = 0.1,
  count: int = 3,
  form: Literal['paper', 'code'] = 'paper',
  looks_ahead: bool = False,
  known: float = 1.0,
):
  """Returns nothing.

  Args:
    strength: How strong it is, lambda. The authors': 0.5.
    share: A share of the
      whole; the paper's.
    count: How many.
    form: Whose equations: the paper's or the code's.
  """


def second(positional=0, *, strength: float = 2.0, other: Annotated[int, (1, None)] = 1):
  """Returns nothing."""


def flags(**factories):
  return {name: (kind, field) for name, kind, field in own_flags(factories, 'Own', known={'known': None})}


def test_parameters_are_flags_once_each_in_their_order():
  made = flags(first=first, second=second)
  assert list(made) == ['strength', 'share', 'count', 'form', 'looks_ahead', 'other']
  assert [kind for kind, _ in made.values()] == [float, float, int, str, bool, int]
  assert all(field.default is None and field.metadata['group'] == 'Own' for _, field in made.values())


def test_annotations_say_what_is_allowed():
  allowed = {name: field.metadata for name, (_, field) in flags(first=first, second=second).items()}
  limits = {name: (meta['low'], meta['high'], meta['choices']) for name, meta in allowed.items()}
  assert limits == {
    'strength': (0, None, ()),
    'share': (0, 1, ()),
    'count': (0, None, ()),
    'form': (None, None, ('paper', 'code')),
    'looks_ahead': (None, None, ()),
    'other': (1, None, ()),
  }


def test_help_is_whose_it_is_and_the_docstrings_first_sentence():
  texts = {name: field.metadata['help'] for name, (_, field) in flags(first=first, second=second).items()}
  assert texts['strength'] == 'first, second: how strong it is, lambda'
  assert texts['share'] == 'first: a share of the whole'
  assert texts['count'] == 'first: how many'
  assert texts['form'] == 'first: whose equations'
  assert texts['other'] == 'second: '


def test_a_parameter_without_a_known_annotation_is_named():
  def factory(*, strength: list[float] = ()):
    """Returns nothing."""

  with pytest.raises(TypeError, match='strength'):
    flags(factory=factory)
