# SPDX-License-Identifier: Apache-2.0
"""The data sets and the partitions by their names on the command line. A factory's keyword parameters are flags."""

from collections.abc import Callable

from fedprox_tff.core.choices import choices_of
from fedprox_tff.datasets.base import DataSet as DataSet
from fedprox_tff.datasets.cifar10 import cifar10 as cifar10
from fedprox_tff.datasets.cifar100 import cifar100 as cifar100
from fedprox_tff.datasets.digits import digits as digits
from fedprox_tff.datasets.femnist import femnist as femnist
from fedprox_tff.datasets.leaf import leaf as leaf
from fedprox_tff.datasets.mnist import mnist as mnist
from fedprox_tff.datasets.molecules import molecules as molecules
from fedprox_tff.datasets.npz import npz as npz
from fedprox_tff.datasets.partitions import PARTITIONS as PARTITIONS
from fedprox_tff.datasets.sent140 import sent140 as sent140
from fedprox_tff.datasets.shakespeare import shakespeare as shakespeare
from fedprox_tff.datasets.stackoverflow import stackoverflow as stackoverflow
from fedprox_tff.datasets.synthetic import synthetic as synthetic
from fedprox_tff.datasets.synthetic_mixture import synthetic_mixture as synthetic_mixture

DATASETS: dict[str, Callable[..., DataSet]] = choices_of(vars(), __name__)
