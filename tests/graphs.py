# SPDX-License-Identifier: Apache-2.0
"""Three graphs by hand: a path of three nodes, one node alone, and a triangle with a fourth node at its third."""

import zipfile

FILES = {
  'A': '1, 2\n2, 1\n2, 3\n3, 2\n5, 6\n6, 5\n6, 7\n7, 6\n5, 7\n7, 5\n8, 7\n7, 8\n',
  'graph_indicator': '1\n1\n1\n2\n3\n3\n3\n3\n',
  'graph_labels': '1\n-1\n1\n',
  'node_labels': '0\n2\n0\n1\n4\n4\n3\n0\n',
}


def write(folder, name='TINY', **changes):
  """Writes the zip file of a set and returns its path; a text of None leaves a file out."""
  path = str(folder / f'{name}.zip')
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
    archive.writestr(f'{name}/README.txt', 'more')
    for part, text in (FILES | changes).items():
      if text is not None:
        archive.writestr(f'{name}/{name}_{part}.txt', text)
  return path
