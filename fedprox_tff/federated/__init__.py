# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Federated's part: an algorithm and a model as a process that iterates rounds.

For users of TFF: `build_process` makes the process, `client_payload` what a client gets in a round, and
`runtimes.use` chooses where it runs.
"""

from fedprox_tff.federated import runtimes as runtimes
from fedprox_tff.federated.payloads import client_payload as client_payload
from fedprox_tff.federated.process import build_process as build_process
