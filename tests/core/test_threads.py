# SPDX-License-Identifier: Apache-2.0
"""One thread for one operation, in processes of their own: TensorFlow takes the number once."""

import os
import subprocess
import sys

import pytest

PRINT = 'import tensorflow as tf; from fedprox_tff.core import threads; {}; print(threads.in_use())'
# The gradient of a network like the CNN's, as a run has it, on some cores.
BITS = """
import os, sys
os.sched_setaffinity(0, {cores})
import hashlib
import numpy as np
import tensorflow as tf
from fedprox_tff.core import threads
{pin}
rng = np.random.default_rng(0)
images, kernel, dense = (tf.constant(rng.normal(size=shape), tf.float32) for shape in (
  (50, 28, 28, 1), (5, 5, 1, 32), (28 * 28 * 32, 64)))
with tf.GradientTape() as tape:
  tape.watch([kernel, dense])
  hidden = tf.reshape(tf.nn.relu(tf.nn.conv2d(images, kernel, 1, 'SAME')), [50, -1])
  loss = tf.reduce_mean(tf.nn.relu(hidden @ dense))
digest = hashlib.sha256()
for gradient in tape.gradient(loss, [kernel, dense]):
  digest.update(gradient.numpy())
print(digest.hexdigest())
"""


def printed(code, **environment):
  environment = {**{k: v for k, v in os.environ.items() if k != 'TF_NUM_INTRAOP_THREADS'}, **environment}
  return subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True, env=environment, timeout=60
  ).stdout.strip()


@pytest.mark.parametrize(
  ('variable', 'threads'), [({}, '1'), ({'TF_NUM_INTRAOP_THREADS': '3'}, '3'), ({'TF_NUM_INTRAOP_THREADS': 'x'}, '1')]
)
def test_it_is_one_unless_the_variable_says_otherwise(variable, threads):
  assert printed(PRINT.format('threads.pin()'), **variable) == threads


def test_tensorflow_that_has_started_keeps_what_it_has():
  assert printed(PRINT.format('tf.constant(1) + 1; threads.pin()')) == '0'


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason='it takes two cores')
def test_a_networks_bits_do_not_depend_on_the_number_of_cores():
  one, two = sorted(os.sched_getaffinity(0))[:1], sorted(os.sched_getaffinity(0))
  bits = [printed(BITS.format(cores=cores, pin='threads.pin()')) for cores in (one, two)]
  assert bits[0] == bits[1]
