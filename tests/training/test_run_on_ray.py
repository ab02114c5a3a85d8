# SPDX-License-Identifier: Apache-2.0
"""Whole runs on a cluster: the same rows as in one process, also after the driver or the last worker has died."""

import csv
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip('ray', reason='"make ray" installs Ray')

from fedprox_tff.training import checkpoint_file
from tests.ray_nodes import cluster, end, rays_processes, soon, workers

ROOT = pathlib.Path(__file__).parents[2]
FLAGS = ['--dataset=digits', '--algorithm=scaffold', '--clients_per_round=5', '--epochs=2', '--rounds_per_checkpoint=5']


def command(folder, *flags):
  return [sys.executable, '-m', 'fedprox_tff.run', *FLAGS, f'--results_dir={folder}', '--name=run', *flags]


def run(folder, *flags):
  return subprocess.run(
    command(folder, *flags),
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
    timeout=120,
    stdin=subprocess.DEVNULL,
  )


def rows(folder):
  """Returns the rows of a run, without what another run of the same would not have."""
  with open(folder / 'run' / 'metrics.csv') as file:
    return [
      {key: value for key, value in row.items() if not key.startswith(('seconds/', 'memory/'))}
      for row in csv.DictReader(file)
    ]


def states(folder):
  return {path.name: path.read_bytes() for path in (folder / 'run' / 'client_states').iterdir()}


def wait_for_round(folder, number, process):
  until = time.monotonic() + 90
  path = folder / 'run' / 'metrics.csv'
  while time.monotonic() < until and process.poll() is None:
    if path.exists() and len(path.read_text().splitlines()) > number + 1:
      return
    time.sleep(0.05)
  raise AssertionError(f'round {number} did not come: {process.poll()}')


def test_a_killed_driver_goes_on_with_the_bits_of_one_process(two_nodes, tmp_path):
  """Workers read and write what clients keep on the disk; one process keeps it in memory."""
  ray = ['--runtime=ray', f'--ray_address={two_nodes}', '--client_states=disk']
  with open(tmp_path / 'log', 'wb') as log:
    driver = subprocess.Popen(
      command(tmp_path / 'ray', *ray, '--rounds=60'), cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL
    )
  try:
    wait_for_round(tmp_path / 'ray', 8, driver)
  finally:
    driver.kill()
    driver.wait()
  saved = checkpoint_file.saved_rounds(tmp_path / 'ray' / 'run')
  done = run(tmp_path / 'ray', *ray, '--rounds=60')
  assert done.returncode == 0, done.stderr
  assert f'going on after round {max(saved)}' in done.stdout
  here = run(tmp_path / 'here', '--rounds=60')
  assert here.returncode == 0
  assert rows(tmp_path / 'ray') == rows(tmp_path / 'here')
  assert states(tmp_path / 'ray') == states(tmp_path / 'here')
  assert len(states(tmp_path / 'here')) > 50
  assert soon(lambda: not workers())


def test_without_a_worker_a_run_waits_and_ends_with_all_saved(tmp_path):
  """The node with the only worker dies; the head has no core for another one. In one process, the run goes on."""
  with cluster(0, 1) as (address, (_, node)):
    ray = ['--runtime=ray', f'--ray_address={address}', '--wait_for_workers=1', '--rounds=10000']
    with open(tmp_path / 'log', 'wb') as log:
      driver = subprocess.Popen(command(tmp_path, *ray), cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
      wait_for_round(tmp_path, 7, driver)
      end(node)
      assert driver.wait(60) == 1
    finally:
      driver.kill()
      driver.wait()
  said = (tmp_path / 'log').read_text()
  assert 'no worker is left; waiting up to 1 s for one' in said
  assert 'error: no worker came within 1 s: each takes 1 CPU, and the cluster has 0 CPU' in said
  assert 'Traceback' not in said
  last = int(rows(tmp_path)[-1]['round_num'])
  assert max(checkpoint_file.saved_rounds(tmp_path / 'run')) == last
  done = run(tmp_path, f'--rounds={last + 1}')
  assert done.returncode == 0, done.stderr
  assert f'going on after round {last}' in done.stdout


def test_a_cluster_of_its_own_ends_with_a_run_that_is_interrupted(tmp_path):
  others = rays_processes()
  with open(tmp_path / 'log', 'wb') as log:
    driver = subprocess.Popen(
      command(tmp_path, '--runtime=ray', '--ray_address=local', '--workers=1', '--rounds=10000'),
      cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
  try:
    wait_for_round(tmp_path, 3, driver)
    assert rays_processes() - others
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
    assert driver.wait(60) == 130
  finally:
    driver.kill()
    driver.wait()
  assert 'to go on:' in (tmp_path / 'log').read_text()
  assert soon(lambda: not rays_processes() - others)
