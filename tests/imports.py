# SPDX-License-Identifier: Apache-2.0
"""What imports what in a tree of Python files, read from the files; and what in it breaks the order of the rooms."""

import ast
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

# Lower rooms first. A module may import from rooms of a lower rank, and from its own room.
RANKS: Sequence[Sequence[str]] = (
  ('fedprox_tff.__init__', 'fedprox_tff.cluster', 'fedprox_tff.core', 'fedprox_tff.machine'),
  ('fedprox_tff.algorithms', 'fedprox_tff.datasets', 'fedprox_tff.models'),
  ('fedprox_tff.config',),
  ('fedprox_tff.federated',),
  ('fedprox_tff.training',),
  ('fedprox_tff.sweeps',),
  ('fedprox_tff.run', 'fedprox_tff.sweep', 'fedprox_tff.doctor'),
  ('analysis', 'benchmarks', 'experiments', 'scripts'),
)
# What a room must not import though it has a lower rank: these three do not know how a run is described, nor the other
# way around; figures read what runs and sweeps have written, and train nothing.
APART: Mapping[str, Sequence[str]] = {
  'fedprox_tff.federated': ('fedprox_tff.config',),
  'fedprox_tff.algorithms': ('fedprox_tff.datasets', 'fedprox_tff.models'),
  'fedprox_tff.datasets': ('fedprox_tff.algorithms', 'fedprox_tff.models'),
  'fedprox_tff.models': ('fedprox_tff.algorithms', 'fedprox_tff.datasets'),
  'analysis': ('fedprox_tff.federated', 'fedprox_tff.run', 'fedprox_tff.sweep', 'fedprox_tff.doctor', 'benchmarks'),
}


def read(root: pathlib.Path, folders: Iterable[str]) -> dict[str, set[str]]:
  """Returns for each module of some folders the modules of these folders that it imports, wherever it does so."""
  paths = {path for folder in folders for path in (root / folder).rglob('*.py')}
  modules = {_name(path.relative_to(root)): path for path in paths}
  return {name: set(_imports(name, path, modules)) - {name} for name, path in modules.items()}


def wrong(imports: Mapping[str, set[str]]) -> list[str]:
  """Returns what breaks the order of the rooms, a line each: imports of a higher rank, walls, and circles."""
  lines = []
  for module, imported in sorted(imports.items()):
    for other in sorted(imported):
      if _rank(other) > _rank(module):
        lines.append(f'{module} imports {other}, which is of a higher rank')
      if any(_is_in(module, room) and _is_in(other, wall) for room, walls in APART.items() for wall in walls):
        lines.append(f'{module} imports {other}, from which it is to be kept apart')
  return lines + [f'a circle: {" -> ".join(circle)}' for circle in _circles(imports)]


def _name(path: pathlib.Path) -> str:
  return '.'.join(path.with_suffix('').parts)


def _imports(name: str, path: pathlib.Path, modules: Mapping[str, pathlib.Path]) -> Iterator[str]:
  """Yields the modules that a file imports, at its top, in functions, and for type checkers alone."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      targets = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      package = name.split('.')[: -node.level] if node.level else []
      base = '.'.join([*package, *([node.module] if node.module else [])])
      targets = [f'{base}.{alias.name}' for alias in node.names]
    else:
      continue
    for target in targets:
      yield from _module_of(target, modules)


def _module_of(target: str, modules: Mapping[str, pathlib.Path]) -> Iterator[str]:
  """Yields the module that an imported name is or is in; a package stands for its `__init__`."""
  while target:
    for module in (target, f'{target}.__init__'):
      if module in modules:
        yield module
        return
    target = target.rpartition('.')[0]


def _is_in(module: str, room: str) -> bool:
  return f'{module}.'.startswith(f'{room}.')


def _rank(module: str) -> int:
  ranks = [rank for rank, rooms in enumerate(RANKS) for room in rooms if _is_in(module, room)]
  if not ranks:
    raise AssertionError(f'{module} is in no room: give it a rank in tests/imports.py.')
  return ranks[0]


def _circles(imports: Mapping[str, set[str]]) -> Iterator[list[str]]:
  """Yields a circle of imports for each module from which one can be walked back to it, shortest names first."""
  done: set[str] = set()
  for start in sorted(imports):
    came_from = {start: ''}
    waiting = [start]
    while waiting:
      here = waiting.pop(0)
      for there in sorted(imports[here]):
        if there == start and start not in done:
          circle = [start]
          while here != start:
            circle.insert(1, here)
            here = came_from[here]
          done |= set(circle)
          yield circle
          waiting = []
          break
        if there not in came_from:
          came_from[there] = here
          waiting.append(there)
