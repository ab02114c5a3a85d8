# SPDX-License-Identifier: Apache-2.0
"""The data sets and the partitions by their names on the command line. A factory's keyword parameters are flags."""

from collections.abc import Callable

from fedprox_tff.core.choices import choices_of
from fedprox_tff.datasets.base import DataSet as DataSet
from fedprox_tff.datasets.digits import digits as digits
from fedprox_tff.datasets.leaf import leaf as leaf
from fedprox_tff.datasets.mnist import mnist as mnist
from fedprox_tff.datasets.partitions import PARTITIONS as PARTITIONS
from fedprox_tff.datasets.sent140 import sent140 as sent140
from fedprox_tff.datasets.shakespeare import shakespeare as shakespeare
from fedprox_tff.datasets.stackoverflow import stackoverflow as stackoverflow
from fedprox_tff.datasets.synthetic import synthetic as synthetic

DATASETS: dict[str, Callable[..., DataSet]] = choices_of(vars(), __name__)
