# SPDX-License-Identifier: Apache-2.0
"""Runs in the field's own words: what sets each apart, for a legend, and what all share, for a caption.

A setting that goes without saying, such as plain SGD, is the empty string.
"""

import pathlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

Config = Mapping[str, Any]

_METHODS = {'fedavg': 'FedAvg', 'fedprox': 'FedProx'}
_DATA = {'mnist': 'MNIST', 'digits': 'Digits'}
_PARTITIONS = {'power_law': 'power law', 'iid': 'IID', 'shards': 'two shards a client', 'dirichlet': 'Dirichlet'}
_MODELS = {'logistic': 'logistic regression', 'cnn': 'CNN'}
_POLICIES = {'drop': 'stragglers dropped', 'partial': 'partial work kept'}
_USUAL_POLICIES = {'fedprox': 'partial'}  # of other methods: drop

# Settings whose words are made of one value: the words, and the value that goes without saying.
_PHRASES = {
  'num_clients': ('{} clients', None),
  'data_seed': ('data seed {}', 0),
  'initial_mu': (r'initial $\mu$ = {}', None),
  'clients_per_round': ('$K$ = {}', None),
  'epochs': ('$E$ = {}', None),
  'batch_size': ('$B$ = {}', None),
  'learning_rate': (r'$\eta$ = {}', None),
  'client_optimizer': ('local {}', 'sgd'),
  'server_optimizer': ('server {}', 'sgd'),
  'server_learning_rate': (r'server $\eta$ = {}', 1),
  'sampling': ('{} sampling', 'uniform'),
  'weighting': ('{} weighting', 'examples'),
}
# What a figure shows by itself, or should not depend on: said only where nothing else tells two runs apart.
_LAST_RESORTS = {
  'rounds': '{} rounds',
  'rounds_per_evaluation': 'evaluated every {} rounds',
  'runtime': 'runtime {}',
  'device': 'on {}',
  'name': '{}',
}
_IN_OTHER_WORDS = {
  *('algorithm', 'mu', 'dataset', 'synthetic_alpha', 'synthetic_beta', 'synthetic_iid', 'partition', 'dirichlet_alpha'),
  *('model', 'stragglers', 'straggler_policy', 'seed'),
}
_NEVER = {'data_dir', 'fallback_dataset', 'rounds_per_checkpoint', 'results_dir'}
_NEVER |= {'rounds_per_dissimilarity', 'measure_gamma'}  # they change what is measured, not what happens
_DATA_KEYS = ('synthetic_alpha', 'synthetic_beta', 'synthetic_iid')
_KNOWN = {*_PHRASES, *_LAST_RESORTS, *_IN_OTHER_WORDS, *_NEVER}


def legend_and_caption(configs: Mapping[str, Config]) -> tuple[list[str], str]:
  """Returns a legend's entries, all of them different, and a line on what the runs have in common.

  An entry begins with the method, unless all runs share it and differ in something else that can be said.

  Args:
    configs: Each run's config by a name that no other run has, its folder.
  """
  words = [_words(config) for config in configs.values()]
  subjects = list(dict.fromkeys(subject for each in words for subject in each))
  differing = [subject for subject in subjects if len({each.get(subject, '') for each in words}) > 1]
  shared = [subject for subject in subjects if subject not in differing and subject not in _unknown(subjects)]
  without_method = [_join(each.get(subject, '') for subject in differing) for each in words]
  if 'method' in shared and not all(without_method):
    shared.remove('method')
    differing.insert(0, 'method')
  entries = [_join(each.get(subject, '') for subject in differing) for each in words]
  return _told_apart(entries, configs), _join(words[0][subject] for subject in shared)


def say(config: Config, key: str) -> str:
  """Returns a run's value of one setting in words, never the empty string."""
  subject = {'algorithm': 'method', 'mu': 'method', **dict.fromkeys(_DATA_KEYS, 'dataset')}.get(key, key)
  words = _words(config).get(subject, '')
  if key == 'algorithm':
    words = _name(config['algorithm'], _METHODS)
  return words or _value(str(config.get(key)), f'{key.replace("_", " ")} = {{}}')


def _words(config: Config) -> dict[str, str]:
  """Returns what can be said of a run, by subject, in the order of a caption."""
  words = {'method': _method(config), 'dataset': _data(config), 'partition': _partition(config)}
  words['num_clients'] = _phrase(config, 'num_clients')
  words['model'] = _name(config.get('model'), _MODELS)
  words |= {key: _phrase(config, key) for key in _PHRASES if key not in words}
  words |= {key: _value(config[key], f'{key.replace("_", " ")} = {{}}') for key in _unknown(config)}
  words['stragglers'] = _stragglers(config)
  words['straggler_policy'] = _straggler_policy(config)
  words['seed'] = _value(config.get('seed'), 'seed {}')
  return words


def _unknown(keys: Mapping[str, Any] | Sequence[str]) -> list[str]:
  """Returns the settings that this file has no words for, such as a new method's own."""
  return [key for key in keys if key not in _KNOWN and key != 'method']


def _method(config: Config) -> str:
  mu = config.get('mu')
  words = r'adaptive $\mu$' if mu == 'adaptive' else _value(mu, r'$\mu$ = {}')
  return _join([_name(config['algorithm'], _METHODS), words])


def _data(config: Config) -> str:
  if config['dataset'] == 'synthetic':
    if config.get('synthetic_iid'):
      return 'Synthetic-IID'
    return f'Synthetic({_value(config.get("synthetic_alpha"))}, {_value(config.get("synthetic_beta"))})'
  if config['dataset'] == 'leaf' and config.get('data_dir'):
    return _value(pathlib.PurePath(config['data_dir']).name)
  return _name(config['dataset'], _DATA)


def _partition(config: Config) -> str:
  words = _name(config.get('partition'), _PARTITIONS)
  alpha = _value(config.get('dirichlet_alpha'))
  return rf'{words}($\alpha$ = {alpha})' if alpha else words


def _stragglers(config: Config) -> str:
  share = config.get('stragglers')
  if not share:
    return '' if share is None else 'no stragglers'
  return f'{_value(100 * share)} % stragglers'


def _straggler_policy(config: Config) -> str:
  policy = config.get('straggler_policy')
  usual = _USUAL_POLICIES.get(config['algorithm'], 'drop')
  return '' if policy == usual or not config.get('stragglers') else _name(policy, _POLICIES)


def _phrase(config: Config, key: str) -> str:
  words, usual = _PHRASES[key]
  return '' if config.get(key) == usual else _value(config.get(key), words)


def _name(value: str | None, names: Mapping[str, str]) -> str:
  return names.get(value) or _value(value)


def _value(value: Any, words: str = '{}') -> str:
  """Returns the words around a value; numbers in short, and no text of the user's taken for mathematics."""
  if value is None:
    return ''
  if isinstance(value, int | float) and not isinstance(value, bool):
    return words.format(int(value) if value == int(value) else f'{value:.7g}')
  return words.format(str(value).replace('$', r'\$'))


def _join(words: Any) -> str:
  return ', '.join(word for word in words if word)


def _told_apart(entries: list[str], configs: Mapping[str, Config]) -> list[str]:
  """Adds what still differs to entries that read the same, at last their folders."""
  candidates = [[_value(config.get(key), words) for config in configs.values()] for key, words in _LAST_RESORTS.items()]
  for texts in [*candidates, [_value(run) for run in configs]]:
    for entry in [entry for entry, count in Counter(entries).items() if count > 1]:
      same = [i for i, other in enumerate(entries) if other == entry]
      if len({texts[i] for i in same}) > 1:
        for i in same:
          entries[i] = _join([entry, texts[i]])
  return entries
