# SPDX-License-Identifier: Apache-2.0
"""What the doctor says of Ray, of a cluster, and of each of its nodes; with nothing but the standard library."""

import contextlib
import json
import os
import pathlib
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fedprox_tff.machine.findings import Finding
from fedprox_tff.machine.probes import ROOT, Answer

INSTALL = 'make ray'
PORT = 6379  # Ray's own choice

# What the doctor asks a process of its own: that one imports Ray.
SURVEY = """
import json
import os
from fedprox_tff.cluster.survey import survey
print(json.dumps(survey({address!r}, {file!r}, {seconds!r})))
"""


class Trace(NamedTuple):
  """A file for nodes to find."""

  folder: str  # whose sight is in question
  file: str
  word: str  # what is in it
  problem: str = ''  # why it could not be written


@contextlib.contextmanager
def trace(results_dir: str) -> Iterator[Trace]:
  """Writes a file with a random word for the block: to the folder of results, or where that would be made."""
  folder, word = pathlib.Path(os.path.abspath(os.path.expanduser(results_dir))), secrets.token_hex(16)
  present = next(path for path in (folder, *folder.parents) if os.path.exists(path))
  file = present / f'.doctor-{secrets.token_hex(8)}'
  try:
    file.write_text(word)
  except OSError as error:
    yield Trace(str(folder), str(file), word, f'{present}: {error.strerror}')
    return
  try:
    yield Trace(str(folder), str(file), word)
  finally:
    with contextlib.suppress(OSError):
      file.unlink()


def check_ray(pins: Mapping[str, str], installed: Mapping[str, str | None]) -> Finding:
  """Ray is not there, or is that of the lock, with all that it needs."""
  if installed['ray'] is None:
    return Finding('ok', 'Ray', 'not installed; runs use one machine', f'for a cluster: {INSTALL}')
  wrong = [f'{name} {installed[name] or "missing"}, not {pins[name]}' for name in pins if installed[name] != pins[name]]
  if wrong:
    return Finding('warn', 'Ray', f'not as in requirements-ray.txt: {"; ".join(wrong)}', INSTALL)
  return Finding('ok', 'Ray', installed['ray'])


def check_cluster(address: str, answer: Answer, traced: Trace) -> Iterator[Finding]:
  """Yields a finding on the cluster, and one on each of its nodes, from what a survey has answered."""
  if answer.problem:
    cure = 'see with "ray status" how it is; if it is gone: unset RAY_ADDRESS, "ray stop"; if it is slow: --timeout'
    yield Finding('warn', 'cluster', answer.problem, cure)
    return
  said = json.loads(answer.output)
  if 'refusal' in said:
    status = 'warn' if address == 'auto' else 'FAIL'  # one that nobody has asked for spoils no other run
    yield Finding(status, 'cluster', said['refusal'], 'name the head of a cluster that this machine is a node of')
    return
  if said['address'] is None:
    start = f'"ray start --head" here, then "ray start --address=HOST:{PORT}" on each other machine (.venv/bin/ray)'
    yield Finding('ok', 'cluster', 'none; Ray works on this machine alone', f'for a cluster: {start}')
    return
  nodes = said['nodes']
  total = _resources(sum(node['cpus'] for node in nodes), sum(node['gpus'] for node in nodes))
  yield Finding('ok', 'cluster', f'{said["address"]}, {_count(len(nodes), "node")}, {total}')
  if traced.problem:
    found = f'nothing can be written there ({traced.problem})'
    yield Finding('warn', 'results folder', found, 'name another: --results_dir')
  for node in sorted(nodes, key=lambda node: node['address']):
    yield _check_node(node, said['versions'], traced)


def _check_node(node: Mapping[str, Any], versions: Mapping[str, str], traced: Trace) -> Finding:
  """A node computes with the same versions as this process, and sees the same results."""
  what, has = f'node {node["address"]}', f'{node["host"]}, {_resources(node["cpus"], node["gpus"])}'
  if 'problem' in node:
    cure = f'see that {ROOT} is there too, with the .venv of "make setup" and "make ray"'
    return Finding('warn', what, f'{has}; {node["problem"]}', cure)
  found, cures = [has], []
  theirs = node['versions']
  other = [f'{name} {theirs[name]}, not {versions[name]}' for name in versions if theirs[name] != versions[name]]
  found.append(', '.join(other) or 'same versions')
  if other:
    cures.append('bring its checkout and .venv to the state of this one: git, make setup, make ray')
  if node['word'] == traced.word:
    found.append(f'sees {traced.folder}')
  elif not traced.problem:
    found.append(f'does not see {traced.folder} ({node.get("blind", "it has other contents there")})')
    cures.append('mount the folder at the same path on all nodes, or name one that is: --results_dir')
  return Finding('warn' if cures else 'ok', what, '; '.join(found), '; '.join(cures))


def _resources(cpus: float, gpus: float) -> str:
  return _count(cpus, 'CPU') + (f', {_count(gpus, "GPU")}' if gpus else '')


def _count(number: float, noun: str) -> str:
  return f'{number:g} {noun}' + ('' if number == 1 else 's')
