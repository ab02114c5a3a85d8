# SPDX-License-Identifier: Apache-2.0
"""The sum over groups has one shape, however it is cut into blocks."""

import pytest

from fedprox_tff.core.map_reduce import TreeSum


def merge(left, right):
  return f'({left}{right})'


def tree_of(leaves, level=0):
  """Returns the shape of the sum, of which blocks of 2^level leaves are added elsewhere."""
  tree = TreeSum(merge)
  for start in range(0, len(leaves), 2**level):
    block = TreeSum(merge)
    for leaf in leaves[start : start + 2**level]:
      block.add(leaf)
    tree.add(block.total('0'), level)
  return tree.total('0')


@pytest.mark.parametrize(
  ('leaves', 'shape'),
  [
    ('', '0'),
    ('a', 'a'),
    ('ab', '(ab)'),
    ('abc', '((ab)c)'),
    ('abcd', '((ab)(cd))'),
    ('abcde', '(((ab)(cd))e)'),
    ('abcdefg', '(((ab)(cd))((ef)g))'),
  ],
)
def test_neighbours_are_added_first(leaves, shape):
  assert tree_of(leaves) == shape


@pytest.mark.parametrize('number', range(1, 26))
@pytest.mark.parametrize('level', [1, 2, 3, 6])
def test_blocks_do_not_change_the_shape(number, level):
  leaves = [chr(ord('a') + i) for i in range(number)]
  assert tree_of(leaves, level) == tree_of(leaves)
