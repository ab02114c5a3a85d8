# SPDX-License-Identifier: Apache-2.0
import sys
from typing import Annotated, Literal, NamedTuple

import pytest

from fedprox_tff.config.choice import choose, default_of
from fedprox_tff.config.signatures import parameters
from fedprox_tff.core.choices import OneOf, choices_of
from fedprox_tff.core.errors import UserError


class Inner(NamedTuple):
  name: str
  depth: float


def shallow(*, depth: float = 1.0):
  """Returns a record."""
  return Inner('shallow', depth)


def deep(*, layers: Annotated[int, (1, None)] = 3):
  """Returns a record."""
  return Inner('deep', layers)


INNER = {'shallow': shallow, 'deep': deep}
SHALLOW = shallow()


def factory(
  positional=0,
  *,
  strength: float = 0.5,
  share: Annotated[float, (0, 1)] = 0.1,
  count: int = 3,
  form: Literal['paper', 'code'] = 'paper',
  looks_ahead: bool = False,
  folder: str | None = None,
  inner: Annotated[Inner, OneOf(INNER)] = SHALLOW,
  rate: Annotated[float | Inner, OneOf({'deep': deep})] = 2.0,
):
  """Returns its values.

  Args:
    strength: How strong it is, lambda. The authors': 0.5.
    share: A share of the
      whole; the paper's.
    count: How many.
  """
  return locals()


def test_annotations_say_what_is_allowed():
  limits = {name: (p.kind, p.low, p.high, p.choices, p.default) for name, p in parameters(factory).items()}
  assert limits == {
    'strength': (float, 0, None, (), 0.5),
    'share': (float, 0, 1, (), 0.1),
    'count': (int, 0, None, (), 3),
    'form': (str, None, None, ('paper', 'code'), 'paper'),
    'looks_ahead': (bool, None, None, (), False),
    'folder': (str, None, None, (), None),
    'inner': (str, None, None, (), Inner('shallow', 1.0)),
    'rate': (float, 0, None, (), 2.0),
  }
  assert default_of(parameters(factory)['inner']) == 'shallow'


def test_help_is_the_docstrings_first_sentence():
  texts = {name: parameter.help for name, parameter in parameters(factory).items()}
  assert (texts['strength'], texts['share'], texts['count'], texts['form']) == (
    'How strong it is, lambda',
    'A share of the whole',
    'How many',
    '',
  )


def test_a_choice_among_the_values_brings_its_own_parameters():
  assert choose(factory, 'f', {'count': '4'}).flat() == {
    **{'strength': 0.5, 'share': 0.1, 'count': 4, 'form': 'paper', 'looks_ahead': False},
    **{'inner': 'shallow', 'depth': 1.0, 'rate': 2.0},
  }
  chosen = choose(factory, 'f', {'inner': 'deep', 'layers': 7, 'depth': 9})  # depth is not deep's, and not read
  assert chosen.flat()['layers'] == 7
  assert 'depth' not in chosen.flat()
  assert chosen.build()['inner'] == Inner('deep', 7)
  assert chosen.record()['inner'] == {'name': 'deep', 'layers': 7}
  assert chosen.differing() == {'inner': 'deep', 'layers': 7}
  adaptive = choose(factory, 'f', {'rate': 'deep'})
  assert adaptive.flat() | {'rate': 'deep', 'layers': 3} == adaptive.flat()
  assert adaptive.build()['rate'] == Inner('deep', 3)


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    ({'inner': 'narrow'}, '--inner=narrow: one of shallow, deep is needed.'),
    ({'rate': 'shallow'}, '--rate=shallow: a number of at least 0 or the word deep is needed.'),
    ({'rate': -1}, '--rate=-1: a number of at least 0 or the word deep is needed.'),
    ({'inner': 'deep', 'layers': 0}, '--layers=0: a whole number of at least 1 is needed.'),
    ({'share': 1.5}, '--share=1.5: a number from 0 to 1 is needed.'),
    ({'count': 1.5}, '--count=1.5: a whole number of at least 0 is needed.'),
    ({'looks_ahead': 1}, '--looks_ahead=1: true or false is needed.'),
  ],
)
def test_a_value_that_is_not_allowed_is_one_line(given, message):
  with pytest.raises(UserError) as error:
    choose(factory, 'f', given)
  assert str(error.value) == message


def test_a_module_may_postpone_its_annotations(tmp_path, monkeypatch):
  (tmp_path / 'postponed.py').write_text(
    'from __future__ import annotations\n'
    'from typing import Annotated, Literal\n\n\n'
    "def postponed(*, share: Annotated[float, (0, 1)] = 0.5, form: Literal['a', 'b'] = 'a',\n"
    '              folder: str | None = None):\n'
    "  '''Returns nothing.'''\n"
  )
  monkeypatch.syspath_prepend(tmp_path)
  from postponed import postponed

  made = parameters(postponed)
  assert (made['share'].kind, made['share'].high, made['form'].choices) == (float, 1, ('a', 'b'))
  assert (made['folder'].kind, made['folder'].default) == (str, None)
  assert choices_of(vars(sys.modules['postponed']), '') == {}  # no package's factory: its module is not `.postponed`
  postponed.__module__ = 'rooms.postponed'
  assert choices_of({'postponed': postponed, 'other': postponed, 'number': 1}, 'rooms') == {'postponed': postponed}


def untyped(*, strength: list[float] = ()):
  """Returns nothing."""


def without_default(*, strength: float):
  """Returns nothing."""


def without_annotation(*, strength=1.0):
  """Returns nothing."""


@pytest.mark.parametrize('wrong', [untyped, without_default, without_annotation])
def test_a_parameter_that_cannot_be_a_flag_is_named(wrong):
  with pytest.raises(TypeError, match=f'{wrong.__name__}: the parameter strength needs'):
    parameters(wrong)
