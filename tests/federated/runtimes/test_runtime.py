# SPDX-License-Identifier: Apache-2.0
"""TFF's worker: the same results, and gone after every kind of end."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedprox_tff.algorithms import fedavg, fedprox
from fedprox_tff.core.errors import RunFailedError, UserError
from fedprox_tff.federated import runtimes
from fedprox_tff.federated.payloads import client_payload
from fedprox_tff.federated.process import build_process
from fedprox_tff.federated.runtimes import worker
from fedprox_tff.models import cnn, logistic
from tests import problems
from tests.federations import load

ROOT = pathlib.Path(__file__).parents[3]
HOLD_A_WORKER = """
import time
from fedprox_tff.federated import runtimes
with runtimes.use('worker'):
  print('ready', flush=True)
  time.sleep(120)
"""


def workers(parent=None):
  return [p for p in psutil.Process(parent).children() if 'worker_binary' in p.name()]


def test_the_note_on_the_worker_is_true():
  """It listens on all addresses, and on the port that the note names; the default runtime has nothing to say."""
  with runtimes.use('worker') as runtime:
    (process,) = workers()
    (listening,) = [c.laddr for c in process.connections('inet') if c.status == psutil.CONN_LISTEN]
    assert listening.ip in ('::', '0.0.0.0')
    assert f'on all addresses of this machine, on port {listening.port}, without a password' in runtime.note
  with runtimes.use('in_process') as runtime:
    assert runtime.note == ''


@pytest.mark.parametrize(('build_model', 'rounds', 'atol'), [(logistic, 4, 2e-6), (cnn, 1, 1e-4)])
def test_both_runtimes_give_the_same_curve(build_model, rounds, atol):
  dataset = load('digits', data_seed=0)
  model = build_model().build(dataset.task, seed=0)
  process = build_process(fedprox(mu=1.0), model, client_optimizer=tff.learning.optimizers.build_sgdm(0.03))
  curves = []
  for name in ('in_process', 'worker'):
    with runtimes.use(name):
      state, curve = process.initialize(), []
      for round_num in range(rounds):
        payloads = [
          client_payload(dataset.train.client(k)._asdict(), num_epochs=2, batch_size=10, key=(0, round_num, k))
          for k in range(4)
        ]
        state, metrics = process.next(state, payloads)
        weights = process.get_model_weights(state).trainable
        curve.append([np.asarray(w) for w in weights] + [float(metrics['finalizer']['update_norm'])])
      curves.append(curve)
  assert np.abs(curves[0][-1][0] - model.initial_weights[0]).max() > 0.005
  tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, atol=atol), *curves)


def test_a_worker_is_gone_after_the_block_and_after_an_error():
  for error in (None, RuntimeError):
    try:
      with runtimes.use('worker') as runtime:
        assert len(workers()) == 1
        assert runtime.worker_memory_mb() > 10
        if error:
          raise error
    except RuntimeError:
      pass
    assert workers() == []


@pytest.mark.parametrize('end', [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_worker_is_gone_after_its_program_is_ended(end):
  process = subprocess.Popen([sys.executable, '-c', HOLD_A_WORKER], cwd=ROOT, stdout=subprocess.PIPE, text=True)
  assert process.stdout.readline() == 'ready\n'
  (child,) = workers(process.pid)
  process.send_signal(end)
  process.wait(30)
  _, alive = psutil.wait_procs([child], timeout=10)
  assert not alive


def test_a_pipe_behind_the_program_closes_with_it():
  """The worker must not inherit standard output, or `| tee` would wait for it."""
  command = f'{sys.executable} -c "{HOLD_A_WORKER.replace("120", "0")}" | cat'
  result = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
  assert result.stdout == 'ready\n'


def test_a_proxy_in_the_environment_is_passed_by(monkeypatch):
  for name in ('http_proxy', 'HTTP_PROXY', 'grpc_proxy'):
    monkeypatch.setenv(name, 'http://192.0.2.1:9')  # an address that nobody has
  with runtimes.use('worker'):
    assert problems.run(problems.process(fedavg(), start=0.0, learning_rate=0.25), 1, problems.Q) == [1.875]


def test_a_worker_that_dies_is_an_error_with_a_reason():
  process = problems.process(fedavg(), start=0.0, learning_rate=0.25)
  with runtimes.use('worker'):
    state = process.initialize()
    os.kill(workers()[0].pid, signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(RunFailedError, match='ended by signal SIGKILL'):
      process.next(state, problems.payloads(problems.Q))
    assert time.monotonic() - start < 30


def test_a_worker_that_stalls_is_ended_and_said(monkeypatch):
  monkeypatch.setattr(worker, '_STALL_SECONDS', 2.0)
  process = problems.process(fedavg(), start=0.0, learning_rate=0.25)
  with runtimes.use('worker'):
    state = process.initialize()
    time.sleep(3)  # nobody asks it for anything: that is no stall
    state, _ = process.next(state, problems.payloads(problems.Q))
    os.kill(workers()[0].pid, signal.SIGSTOP)
    with pytest.raises(RunFailedError, match='did nothing for 2 s and was ended'):
      process.next(state, problems.payloads(problems.Q))
  assert workers() == []


def test_a_worker_that_does_not_start_is_an_error_with_a_reason():
  with pytest.raises(RunFailedError, match='ended with exit code 1'), worker.run_worker(pathlib.Path('/bin/false')):
    pass
  with pytest.raises(RunFailedError, match='cannot be started'), worker.run_worker(pathlib.Path('/no/such/worker')):
    pass


def test_a_worker_that_never_answers_is_an_error(tmp_path):
  silent = tmp_path / 'silent'
  silent.write_text('#!/bin/sh\nexec sleep 60\n')
  silent.chmod(0o755)
  with pytest.raises(RunFailedError, match='does not answer'), worker.run_worker(silent, start_seconds=1.0):
    pass
  assert not [p for p in psutil.Process().children() if p.name() == 'sleep']


def test_no_gpu_is_said(monkeypatch):
  monkeypatch.setattr(tf.config, 'list_physical_devices', lambda kind: [])
  with pytest.raises(UserError, match='--device=gpu: TensorFlow finds no GPU'), runtimes.use(device='gpu'):
    pass
  with pytest.raises(UserError, match='worker has no GPU kernels'), runtimes.use('worker', device='gpu'):
    pass
