# SPDX-License-Identifier: Apache-2.0
"""Small files in the layout of CIFAR's python version."""

import pathlib
import pickle

import numpy as np

from fedprox_tff.datasets.cifar_files import Release


def batch(release: Release, size: int, seed: int) -> dict:
  """Returns the content of a file: random images, classes in turn."""
  pixels = np.random.default_rng(seed).integers(0, 256, (size, 3072)).astype(np.uint8)
  labels = [i % release.num_classes for i in range(size)]
  return {b'data': pixels, release.labels.encode(): labels, b'batch_label': b'made', b'filenames': [b'a.png'] * size}


def write(release: Release, folder: pathlib.Path, *, train_size: int, test_size: int) -> list[dict]:
  """Writes a set into a folder and returns the contents of its files, the test file last."""
  folder.mkdir(parents=True, exist_ok=True)
  sizes = [train_size] * len(release.train) + [test_size]
  contents = [batch(release, size, seed) for seed, size in enumerate(sizes)]
  for name, content in zip((*release.train, release.test), contents, strict=True):
    (folder / name).write_bytes(pickle.dumps(content, protocol=2))
  return contents
