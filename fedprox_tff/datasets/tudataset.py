# SPDX-License-Identifier: Apache-2.0
"""Sets of graphs in the files of TUDataset (Morris et al., GRL+ workshop at ICML 2020, arXiv:2007.08663).

A set NAME is a zip file that holds, in a folder NAME, text files with a line for each

  NAME_A.txt                edge: "source, target", nodes of the whole set counted from 1, either direction a line
  NAME_graph_indicator.txt  node: the graph that it belongs to, from 1
  NAME_graph_labels.txt     graph: its class
  NAME_node_labels.txt      node: its kind, a whole number from 0

and files that are not read here, such as the kinds of edges. Nothing is unpacked to disk.
"""

import hashlib
import zipfile
import zlib
from typing import NamedTuple

import numpy as np

from fedprox_tff.core.errors import DataError

PARTS = ('A', 'graph_indicator', 'graph_labels', 'node_labels')
LARGEST_FILE = 2**26  # bytes of one text file, unpacked: more is no set of molecules
LARGEST_KIND = 9_999  # a network has weights for each kind of node up to the largest


class Graphs(NamedTuple):
  """The graphs of one set, their nodes one after another."""

  labels: np.ndarray  # int64 [graphs], as the file has them
  kinds: np.ndarray  # int64 [nodes], as the file has them
  sizes: np.ndarray  # int64 [graphs]: how many nodes each has
  edges: np.ndarray  # int64 [edges, 2]: source and target, nodes of the whole set from 0, in the order of the sources
  sha256: str  # of the four text files, one after another in the order of `PARTS`

  @property
  def degrees(self) -> np.ndarray:
    """How many neighbours each node has, int64 [nodes]."""
    return np.bincount(self.edges[:, 0], minlength=len(self.kinds))


def read(path: str, name: str) -> Graphs:
  """Reads the zip file of a set.

  Args:
    path: The file.
    name: The set's name.

  Raises:
    DataError: If it cannot be read, or its files do not fit together.
  """
  contents = _contents(path, name)
  edges, indicator, labels, kinds = (
    _numbers(content, f'{path}: {name}_{part}.txt', 2 if part == 'A' else 1)
    for part, content in zip(PARTS, contents, strict=True)
  )
  edges, num_nodes = edges - 1, len(kinds)

  def require(holds, what: str) -> None:
    if not holds:
      raise DataError(f'{path}: {what}.')

  require(len(indicator) == num_nodes, f'{len(indicator)} nodes have a graph, but {num_nodes} have a kind')
  require(1 <= indicator.min() <= indicator.max() <= len(labels), f'a node is in none of the {len(labels)} graphs')
  require(np.all(np.diff(indicator) >= 0), 'the nodes are not in the order of their graphs')
  sizes = np.bincount(indicator, minlength=len(labels) + 1)[1:]
  require(sizes.min() >= 1, f'graph {np.argmin(sizes) + 1} has no nodes')
  require(0 <= kinds.min() <= kinds.max() <= LARGEST_KIND, f'a node has a kind that is not from 0 to {LARGEST_KIND}')
  require(0 <= edges.min() <= edges.max() < num_nodes, f'an edge leads to none of the {num_nodes} nodes')
  require(np.array_equal(*indicator[edges].T), 'an edge leads from one graph to another')
  codes = np.unique(edges @ [num_nodes, 1])
  require(len(codes) == len(edges), 'an edge is there twice')
  require(np.array_equal(codes, np.unique(edges @ [1, num_nodes])), 'an edge is there in one direction only')
  sha256 = hashlib.sha256(b''.join(contents)).hexdigest()
  return Graphs(labels, kinds, sizes, np.stack(np.divmod(codes, num_nodes), axis=1), sha256)


def tables(graphs: Graphs, num_places: int, degree: int) -> np.ndarray:
  """Returns graphs as tables of their nodes, int16 [graphs, num_places, 1 + degree].

  Column 0 is a node's kind, from 1; the others are its neighbours' places in the table, from 1. What is not there is 0.

  Args:
    graphs: The graphs.
    num_places: Rows of a table, no fewer than any graph has nodes.
    degree: No less than any node has neighbours.
  """
  starts = np.cumsum(graphs.sizes) - graphs.sizes
  graph = np.repeat(np.arange(len(graphs.sizes)), graphs.sizes)  # of each node
  place = np.arange(len(graph)) - starts[graph]
  source, target = graphs.edges.T
  degrees = graphs.degrees
  rank = np.arange(len(source)) - (np.cumsum(degrees) - degrees)[source]  # of an edge among those of its source
  x = np.zeros((len(graphs.sizes), num_places, 1 + degree), np.int16)
  x[graph, place, 0] = graphs.kinds + 1
  x[graph[source], place[source], 1 + rank] = place[target] + 1
  return x


def _contents(path: str, name: str) -> list[bytes]:
  """Returns the four text files of a set."""
  try:
    with zipfile.ZipFile(path) as archive:
      members = [archive.getinfo(f'{name}/{name}_{part}.txt') for part in PARTS]
      for member in members:
        if member.file_size > LARGEST_FILE:
          raise DataError(f'{path}: {member.filename} is {member.file_size} bytes large; {LARGEST_FILE} are allowed.')
      return [archive.read(member) for member in members]
  except KeyError as error:
    raise DataError(f'{path} is not the zip file of {name}: {error.args[0]}.') from error
  except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
    raise DataError(f'{path} cannot be read as a zip file: {error}.') from error


def _numbers(content: bytes, what: str, columns: int) -> np.ndarray:
  """Returns the whole numbers of a text file, int64 [lines] or [lines, columns]."""
  try:
    lines = [line.split(',') for line in content.decode('ascii').splitlines()]
    numbers = np.array([[int(number) for number in line] for line in lines], np.int64, ndmin=2)
  except (ValueError, OverflowError) as error:
    raise DataError(f'{what} is not whole numbers throughout, as many in each line: {error}.') from error
  if not numbers.size or numbers.shape[1] != columns:
    raise DataError(f'{what} has {len(lines)} lines of {numbers.shape[1]} numbers; lines of {columns} are needed.')
  return numbers if columns > 1 else numbers[:, 0]
