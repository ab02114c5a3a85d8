# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from fedprox_tff.core.errors import DataError
from fedprox_tff.datasets import tudataset
from tests.graphs import FILES, write


def test_a_set_is_read(tmp_path):
  graphs = tudataset.read(write(tmp_path), 'TINY')
  assert graphs.labels.tolist() == [1, -1, 1]
  assert graphs.kinds.tolist() == [0, 2, 0, 1, 4, 4, 3, 0]
  assert graphs.sizes.tolist() == [3, 1, 4]
  assert graphs.degrees.tolist() == [1, 2, 1, 0, 2, 2, 3, 1]
  assert graphs.edges.tolist()[:4] == [[0, 1], [1, 0], [1, 2], [2, 1]]


def test_a_graph_is_a_table_of_kinds_and_neighbours(tmp_path):
  x = tudataset.tables(tudataset.read(write(tmp_path), 'TINY'), 5, 3)
  nothing = [0, 0, 0, 0]
  assert x.dtype == np.int16
  assert x.tolist() == [
    [[1, 2, 0, 0], [3, 1, 3, 0], [1, 2, 0, 0], nothing, nothing],
    [[2, 0, 0, 0], nothing, nothing, nothing, nothing],
    [[5, 2, 3, 0], [5, 1, 3, 0], [4, 1, 2, 4], [1, 3, 0, 0], nothing],
  ]


def test_the_order_of_the_edges_and_how_a_zip_file_is_packed_do_not_matter(tmp_path):
  first = tudataset.read(write(tmp_path), 'TINY')
  edges = ''.join(reversed(FILES['A'].splitlines(keepends=True)))
  other = tudataset.read(write(tmp_path, A=edges, edge_labels='0\n'), 'TINY')
  assert np.array_equal(first.edges, other.edges)
  assert first.sha256 != other.sha256
  assert first.sha256 == tudataset.read(write(tmp_path, edge_labels='0\n'), 'TINY').sha256


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'node_labels': None}, "is not the zip file of TINY: There is no item named 'TINY/TINY_node_labels.txt'"),
    ({'A': ''}, 'TINY_A.txt has 0 lines'),
    ({'A': '1\n2\n'}, 'TINY_A.txt has 2 lines of 1 numbers; lines of 2 are needed'),
    ({'A': '1, 2\n2, x\n'}, 'TINY_A.txt is not whole numbers throughout'),
    ({'A': '1, 2\n2\n'}, 'TINY_A.txt is not whole numbers throughout'),
    ({'graph_labels': '1\n0.5\n1\n'}, 'TINY_graph_labels.txt is not whole numbers throughout'),
    ({'graph_labels': '1\n99999999999999999999\n1\n'}, 'TINY_graph_labels.txt is not whole numbers throughout'),
    ({'graph_indicator': '1\n1\n'}, '2 nodes have a graph, but 8 have a kind'),
    ({'graph_labels': '1\n-1\n'}, 'a node is in none of the 2 graphs'),
    ({'graph_indicator': '0\n1\n1\n2\n3\n3\n3\n3\n'}, 'a node is in none of the 3 graphs'),
    ({'graph_indicator': '1\n1\n1\n2\n3\n3\n3\n2\n'}, 'the nodes are not in the order of their graphs'),
    ({'graph_indicator': '1\n1\n1\n3\n3\n3\n3\n3\n'}, 'graph 2 has no nodes'),
    ({'node_labels': '0\n2\n0\n1\n4\n4\n3\n-1\n'}, 'a node has a kind that is not from 0 to 9999'),
    ({'node_labels': '0\n2\n0\n1\n4\n4\n3\n10000\n'}, 'a node has a kind that is not from 0 to 9999'),
    ({'A': '1, 9\n9, 1\n'}, 'an edge leads to none of the 8 nodes'),
    ({'A': '0, 1\n1, 0\n'}, 'an edge leads to none of the 8 nodes'),
    ({'A': '3, 4\n4, 3\n'}, 'an edge leads from one graph to another'),
    ({'A': '1, 2\n2, 1\n1, 2\n'}, 'an edge is there twice'),
    ({'A': '1, 2\n2, 1\n2, 3\n'}, 'an edge is there in one direction only'),
  ],
)
def test_files_that_do_not_fit_are_refused_in_one_line(tmp_path, changes, message):
  path = write(tmp_path, **changes)
  with pytest.raises(DataError) as error:
    tudataset.read(path, 'TINY')
  assert path in str(error.value)
  assert message in str(error.value)
  assert '\n' not in str(error.value)


def test_a_file_that_is_too_large_is_not_unpacked(tmp_path, monkeypatch):
  monkeypatch.setattr(tudataset, 'LARGEST_FILE', 20)
  with pytest.raises(DataError, match=r'TINY_A\.txt is \d+ bytes large; 20 are allowed'):
    tudataset.read(write(tmp_path), 'TINY')


def cut(content):
  return content[: len(content) // 2]


def flip(content):
  """Turns over the bits of a byte in the middle of the edges."""
  place = content.index(b'TINY_A.txt') + 30
  return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


@pytest.mark.parametrize('damage', [cut, flip, lambda content: b'', lambda content: b'<html>'])
def test_a_damaged_zip_file_is_refused_in_one_line(tmp_path, damage):
  path = write(tmp_path)
  with open(path, 'rb') as file:
    content = file.read()
  with open(path, 'wb') as file:
    file.write(damage(content))
  with pytest.raises(DataError, match=r'TINY\.zip cannot be read as a zip file: '):
    tudataset.read(path, 'TINY')


def test_a_file_that_is_not_there_is_refused(tmp_path):
  with pytest.raises(DataError, match='cannot be read as a zip file'):
    tudataset.read(str(tmp_path / 'none.zip'), 'TINY')
