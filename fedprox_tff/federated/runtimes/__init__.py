# SPDX-License-Identifier: Apache-2.0
"""Where TFF computations run: TensorFlow in this process, a Ray cluster, or TFF's C++ worker beside this process."""

from fedprox_tff.federated.runtimes.on_ray import Cluster as Cluster
from fedprox_tff.federated.runtimes.runtime import Runtime as Runtime
from fedprox_tff.federated.runtimes.runtime import use as use
