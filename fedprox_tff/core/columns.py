# SPDX-License-Identifier: Apache-2.0
"""What a column of metrics.csv is."""

from typing import NamedTuple


class Column(NamedTuple):
  """A column of metrics.csv.

  Attributes:
    name: Its name in the file and in TensorBoard, such as 'train/loss'.
    meaning: What it holds, in a sentence for the documentation.
    unit: Its unit, such as 'seconds' or 'MiB'; '1' for shares and pure numbers, 'clients' or 'steps' for counts.
    label: What an axis of a figure is called; mathematics between dollar signs.
    percent: Whether figures and tables show it in percent.
  """

  name: str
  meaning: str
  unit: str = '1'
  label: str = ''
  percent: bool = False
