# SPDX-License-Identifier: Apache-2.0
"""Runs in the field's own words: what sets each apart, for a legend, and what all share, for a caption.

A setting that goes without saying, such as plain SGD, is the empty string.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fedprox_tff.algorithms import ALGORITHMS
from fedprox_tff.algorithms.base import Algorithm, Policy
from fedprox_tff.config.choice import choose, flags_of
from fedprox_tff.config.flags import KINDS
from fedprox_tff.config.record import PLACES
from fedprox_tff.core.errors import UserError
from fedprox_tff.datasets import DATASETS, PARTITIONS

Config = Mapping[str, Any]

_POLICIES = {'drop': 'stragglers dropped', 'partial': 'partial work kept'}
_WEIGHTINGS = {'examples': 'weighted by examples', 'uniform': 'uniform weighting'}

# Settings whose words are made of one value: the words, and the value that goes without saying.
_PHRASES = {
  'num_clients': ('{} clients', None),
  'data_seed': ('data seed {}', 0),
  'clients_per_round': ('$K$ = {}', None),
  'epochs': ('$E$ = {}', None),
  'local_steps': ('local steps = {}', None),
  'batch_size': ('$B$ = {}', None),
  'learning_rate': (r'$\eta$ = {}', None),
  'clip_norm': ('clipped at norm {}', None),
  'l2': ('l2 = {}', 0),
  'client_optimizer': ('local {}', 'sgd'),
  'server_optimizer': ('server {}', 'sgd'),
  'server_learning_rate': (r'server $\eta$ = {}', 1),
  'sampling': ('{} sampling', 'uniform'),
  'evaluation_examples': ('evaluated on {} examples', None),
}
# What a figure shows by itself, or should not depend on: said only where nothing else tells two runs apart.
_LAST_RESORTS = {
  'rounds': '{} rounds',
  'rounds_per_evaluation': 'evaluated every {} rounds',
  'runtime': 'runtime {}',
  'device': 'on {}',
  'name': '{}',
}
# What the titles of data sets and partitions say.
_OF_DATA = {p.name for factory in DATASETS.values() for p in flags_of(factory)}
_OF_DATA -= PLACES | {'data_seed', 'num_clients'}
_OF_PARTITIONS = {p.name for factory in PARTITIONS.values() for p in flags_of(factory)}
_IN_TITLES = {'dataset': _OF_DATA, 'partition': _OF_PARTITIONS}
_OF_METHODS = {key for factory in ALGORITHMS.values() for key in factory().words}
_IN_OTHER_WORDS = {'algorithm', 'dataset', 'partition', 'model', 'stragglers', 'straggler_policy', 'weighting', 'seed'}
_IN_OTHER_WORDS |= _OF_DATA | _OF_PARTITIONS
_NEVER = PLACES - _LAST_RESORTS.keys() | {
  'rounds_per_dissimilarity',
  'measure_gamma',
}  # they change what is measured, not what happens
_KNOWN = {*_PHRASES, *_LAST_RESORTS, *_IN_OTHER_WORDS, *_NEVER}


def legend_and_caption(configs: Mapping[str, Config], hidden: Collection[str] = ()) -> tuple[list[str], str]:
  """Returns a legend's entries, all of them different, and a line on what the runs have in common.

  An entry begins with the method, unless all runs share it and differ in something else that can be said.

  Args:
    configs: Each run's config by a name that no other run has, its folder.
    hidden: Settings of which nothing is said.
  """
  words = [_words(config, hidden) for config in configs.values()]
  subjects = list(dict.fromkeys(subject for each in words for subject in each))
  differing = [subject for subject in subjects if len({each.get(subject, '') for each in words}) > 1]
  shared = [
    subject for subject in subjects if subject not in differing and subject not in _settings_of_methods(configs)
  ]
  without_method = [_join(each.get(subject, '') for subject in differing) for each in words]
  if 'method' in shared and not all(without_method):
    shared.remove('method')
    differing.insert(0, 'method')
  entries = [_join(each.get(subject, '') for subject in differing) for each in words]
  return _told_apart(entries, configs, hidden), _join(words[0][subject] for subject in shared)


def say(config: Config, key: str) -> str:
  """Returns a run's value of one setting in words, never the empty string."""
  method = record_of('algorithm', config)
  said = key == 'algorithm' or (method and key in method.words) or (key in _OF_METHODS and config.get(key) is None)
  subject = 'method' if said else key
  subject = 'dataset' if key in _OF_DATA else 'partition' if key in _OF_PARTITIONS else subject
  words = _words(config).get(subject, '')
  if key == 'algorithm':
    words = _title('algorithm', config)
  if key in ('weighting', 'straggler_policy'):  # asked for, they are said of methods for which they are usual, too
    words = (_WEIGHTINGS | _POLICIES).get(config.get(key), '')
  return words or _value(str(config.get(key)), f'{key.replace("_", " ")} = {{}}')


def say_all(config: Config, keys: Sequence[str]) -> str:
  """Returns a run's values of some settings in words; the words for one may have those for another in them."""
  words = list(dict.fromkeys(say(config, key) for key in keys))
  return _join(each for each in words if not any(other.startswith(f'{each}, ') for other in words))


def method_of(config: Config) -> str:
  """Returns a run's method in words, with what a legend says of it."""
  return _words(config)['method']


def typeset(name: str) -> str:
  """Returns a name that a user has written as a label: the word mu is the Greek letter."""
  return name if '$' in name else re.sub(r'\bmu\b', r'$\\mu$', name)


def record_of(kind: str, config: Config) -> Any:
  """Returns the record of what a run has chosen, such as its `Algorithm`; None if this version has none like it.

  Args:
    kind: A key of `KINDS`, such as 'algorithm'.
    config: The run's config, flat. Whole numbers may have come out of a table as 2.0.
  """
  factory = KINDS[kind].get(config.get(kind))
  if factory is None:
    return None
  given = {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in config.items()}
  try:
    return choose(factory, config[kind], given).build()
  except UserError:
    return None


def _words(config: Config, hidden: Collection[str] = ()) -> dict[str, str]:
  """Returns what can be said of a run, by subject, in the order of a caption."""
  method = record_of('algorithm', config)
  titles = {kind: _title(kind, config, hidden) for kind in KINDS}
  said = method.words if method else {}
  config = {key: value for key, value in config.items() if key not in hidden}
  words = {'method': _join([titles['algorithm'], *(said[key] for key in said if key not in hidden)])}
  words |= {'dataset': titles['dataset'], 'partition': titles['partition']}
  words['num_clients'] = _phrase(config, 'num_clients')
  words['model'] = titles['model']
  words |= {key: _phrase(config, key) for key in _PHRASES if key not in words}
  words['weighting'] = _weighting(config, method)
  own = [key for key in config if key not in _KNOWN and key not in said]
  words |= {key: _value(config[key], f'{key.replace("_", " ")} = {{}}') for key in own}
  words['stragglers'] = _stragglers(config)
  some = 'stragglers' in hidden or config.get('stragglers')
  words['straggler_policy'] = _straggler_policy(config, method) if some else ''
  words['seed'] = _value(config.get('seed'), 'seed {}')
  return words


def _settings_of_methods(configs: Mapping[str, Config]) -> set[str]:
  """Returns the settings that this file has no words for, such as a method's own: no caption says what all share."""
  return {key for config in configs.values() for key in config if key not in _KNOWN}


def _title(kind: str, config: Config, hidden: Collection[str] = ()) -> str:
  """Returns the title of what a run has chosen; its name, if the title is not known or would say what is hidden."""
  if kind in hidden:
    return ''
  record = None if _IN_TITLES.get(kind, set()) & set(hidden) else record_of(kind, config)
  return record.title if record else _value(config.get(kind))


def _weighting(config: Config, method: Algorithm | None) -> str:
  """Returns how clients are weighted, where that is not what the method's paper does."""
  usual = (method.policy if method else Policy()).weighting
  weighting = config.get('weighting')
  return '' if weighting == usual else _WEIGHTINGS.get(weighting) or _value(weighting, '{} weighting')


def _stragglers(config: Config) -> str:
  share = config.get('stragglers')
  if not share:
    return '' if share is None else 'no stragglers'
  return f'{_value(100 * share)} % stragglers'


def _straggler_policy(config: Config, method: Algorithm | None) -> str:
  """Returns what becomes of stragglers, where that is not what the method's paper does."""
  policy = config.get('straggler_policy')
  usual = (method.policy if method else Policy()).stragglers
  return '' if policy == usual else _POLICIES.get(policy) or _value(policy)


def _phrase(config: Config, key: str) -> str:
  words, usual = _PHRASES[key]
  return '' if config.get(key) == usual else _value(config.get(key), words)


def _value(value: Any, words: str = '{}') -> str:
  """Returns the words around a value; numbers in short, and no text of the user's taken for mathematics."""
  if value is None:
    return ''
  if isinstance(value, int | float) and not isinstance(value, bool):
    return words.format(int(value) if value == int(value) else f'{value:.7g}')
  return words.format(str(value).replace('$', r'\$'))


def _join(words: Any) -> str:
  return ', '.join(word for word in words if word)


def _told_apart(entries: list[str], configs: Mapping[str, Config], hidden: Collection[str]) -> list[str]:
  """Adds what still differs to entries that read the same, at last their folders."""
  resorts = {key: words for key, words in _LAST_RESORTS.items() if key not in hidden}
  candidates = [[_value(config.get(key), words) for config in configs.values()] for key, words in resorts.items()]
  for texts in [*candidates, [_value(run) for run in configs]]:
    for entry in [entry for entry, count in Counter(entries).items() if count > 1]:
      same = [i for i, other in enumerate(entries) if other == entry]
      if len({texts[i] for i in same}) > 1:
        for i in same:
          entries[i] = _join([entry, texts[i]])
  return entries
