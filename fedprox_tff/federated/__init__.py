# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Federated's part: an algorithm and a model as a process that iterates rounds."""
