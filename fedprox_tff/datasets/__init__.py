# SPDX-License-Identifier: Apache-2.0
"""The data sets by name. A loader's keyword parameters are the command-line flags that the data set uses."""

from collections.abc import Callable

from fedprox_tff.datasets import digits, leaf, mnist, synthetic
from fedprox_tff.datasets.base import FederatedDataset

DATASETS: dict[str, Callable[..., FederatedDataset]] = {
  'mnist': mnist.load,
  'digits': digits.load,
  'synthetic': synthetic.load,
  'leaf': leaf.load,
}
