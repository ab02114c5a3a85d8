# SPDX-License-Identifier: Apache-2.0
"""A research suite for federated optimization in heterogeneous networks, on TensorFlow Federated.

Importing this package imports no TensorFlow: flags are parsed, and mistakes in them found, before that costs seconds.
"""

__version__ = '0.2.0'
