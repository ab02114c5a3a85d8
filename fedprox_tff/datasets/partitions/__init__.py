# SPDX-License-Identifier: Apache-2.0
"""Splits of labelled examples over clients, by their names on the command line.

power_law   Li et al., "Federated Optimization in Heterogeneous Networks" (MLSys 2020), as its MNIST script does it
shards      McMahan et al., "Communication-Efficient Learning of Deep Networks" (AISTATS 2017), two shards a client
dirichlet   Hsu, Qi and Brown, "Measuring the Effects of Non-Identical Data Distribution" (2019): class by class over
            the clients, which leaves the clients' sizes uneven, or client by client, all of one size
iid         the same number of random examples everywhere
"""

from collections.abc import Callable

from fedprox_tff.core.choices import choices_of
from fedprox_tff.datasets.partitions.base import Partition as Partition
from fedprox_tff.datasets.partitions.dirichlet import dirichlet as dirichlet
from fedprox_tff.datasets.partitions.iid import iid as iid
from fedprox_tff.datasets.partitions.power_law import power_law as power_law
from fedprox_tff.datasets.partitions.shards import shards as shards

PARTITIONS: dict[str, Callable[..., Partition]] = choices_of(vars(), __name__)
