# SPDX-License-Identifier: Apache-2.0
"""Where TFF computations run: TensorFlow in this process, or TFF's C++ worker beside it."""

from fedprox_tff.federated.runtimes.runtime import Runtime as Runtime
from fedprox_tff.federated.runtimes.runtime import use as use
