# SPDX-License-Identifier: Apache-2.0
"""Who imports whom in a source tree, and which of these imports its plan does not allow.

All imports count: those at the top of a file, in functions, and for type checkers only.
"""

import ast
import pathlib
from collections.abc import Iterator, Mapping

FOLDERS = ('fedprox_tff', 'analysis', 'benchmarks', 'experiments')

# A room may import from itself and from rooms of a lower rank. Two rooms of one rank do not know each other.
RANKS = {
  **dict.fromkeys(('core', 'machine'), 0),
  **dict.fromkeys(('algorithms', 'datasets', 'models'), 1),
  'config': 2,
  'federated': 3,
  'training': 4,
  'sweeps': 5,
}
DOORS = ('run', 'sweep', 'doctor')
_RANK_OF_DOORS = 6

# Beside the rule of ranks: those who build a process out of an algorithm and a model know no flags.
FORBIDDEN = {'federated': ('config',)}

# Of the rooms above the models', analysis reads results and grids; it trains nothing.
FOR_ANALYSIS = (
  *('core', 'machine.console', 'algorithms', 'datasets', 'models', 'config'),
  *('training.columns', 'training.run_folder', 'sweeps.grids', 'sweeps.grid_checks', 'sweeps.search'),
)


def problems(root: pathlib.Path) -> list[str]:
  """Returns what is wrong with the imports of a tree, a line each."""
  graph = imports(root)
  nowhere = [f'{module} is in no room of the plan' for module in graph if not _is_placed(module)]
  if nowhere:
    return nowhere
  found = [f'{user} imports {used}' for user, targets in graph.items() for used in targets if not _allows(user, used)]
  return sorted(found) + [f'circle: {" -> ".join(circle)}' for circle in circles(graph)]


def imports(root: pathlib.Path) -> dict[str, set[str]]:
  """Returns the modules of a tree, and which of them each one imports."""
  paths = {_name(path.relative_to(root)): path for folder in FOLDERS for path in (root / folder).rglob('*.py')}
  return {name: {used for used in _imported(name, path, paths) if used in paths} for name, path in paths.items()}


def third_parties(root: pathlib.Path) -> dict[str, set[str]]:
  """Returns the first part of the name of each module that is imported and not of the tree, and who imports it."""
  found: dict[str, set[str]] = {}
  for folder in FOLDERS:
    for path in (root / folder).rglob('*.py'):
      name = _name(path.relative_to(root))
      for used in _imported(name, path, {}):
        if used.split('.')[0] not in FOLDERS:
          found.setdefault(used.split('.')[0], set()).add(name)
  return found


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
  """Returns the circles that a depth-first walk meets, each from its first module back to that."""
  found, done = [], set()

  def visit(module: str, path: list[str]) -> None:
    if module in path:
      found.append([*path[path.index(module) :], module])
    elif module not in done:
      for used in sorted(graph[module]):
        visit(used, [*path, module])
      done.add(module)

  for module in sorted(graph):
    visit(module, [])
  return found


def _name(path: pathlib.Path) -> str:
  return '.'.join(path.with_suffix('').parts).removesuffix('.__init__')


def _imported(name: str, path: pathlib.Path, paths: Mapping[str, pathlib.Path]) -> Iterator[str]:
  """Yields the modules that a file imports; of `from package import x` the module x if it is one, else the package."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      base = name if path.name == '__init__.py' else name.rpartition('.')[0]
      for _ in range(node.level - 1):
        base = base.rpartition('.')[0]
      module = '.'.join(filter(None, [base if node.level else '', node.module]))
      for alias in node.names:
        yield f'{module}.{alias.name}' if f'{module}.{alias.name}' in paths else module


def _is_placed(module: str) -> bool:
  return module.split('.', maxsplit=1)[0] != 'fedprox_tff' or _room(module) in ('', *RANKS, *DOORS)


def _is_placed(module: str) -> bool:
  return module.split('.', maxsplit=1)[0] != 'fedprox_tff' or _room(module) in ('', *RANKS, *DOORS)


def _allows(user: str, used: str) -> bool:
  folder, room = user.split('.', maxsplit=1)[0], _room(user)
  if used.split('.', maxsplit=1)[0] != 'fedprox_tff' or used == 'fedprox_tff':
    return folder != 'fedprox_tff' or used == 'fedprox_tff'
  used_room = _room(used)
  if folder == 'analysis':
    return any(f'{used}.'.startswith(f'fedprox_tff.{allowed}.') for allowed in FOR_ANALYSIS)
  rank = _rank(room) if folder == 'fedprox_tff' else _RANK_OF_DOORS
  if used_room in FORBIDDEN.get(room, ()):
    return False
  return (folder == 'fedprox_tff' and room == used_room) or _rank(used_room) < rank


def _room(module: str) -> str:
  return [*module.split('.'), ''][1]


def _rank(room: str) -> int:
  """Returns the rank of a room or a door, -1 of the package itself."""
  return _RANK_OF_DOORS if room in DOORS else -1 if not room else RANKS[room]
