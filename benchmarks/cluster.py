# SPDX-License-Identifier: Apache-2.0
"""What a cluster costs and brings, on two nodes of one core each that this program starts on this machine.

    python -m benchmarks.cluster [--dataset=mnist] [--quick]

MNIST's power-law federation, or digits where MNIST is not at hand; the logistic regression and the convolutional
network. Rounds with --runtime=ray and in process take turns on the same cohorts, all of which everyone has trained
before, and a ratio is the median of the ratios of the same rounds. The driver has no core of its own: what it does goes
off what its workers have. Where all nodes are one machine, no network is in the way; the last table computes what one
would change, from figures that were measured before it.
"""

import argparse
import contextlib
import functools
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import tensorflow as tf
import tensorflow_federated as tff

from benchmarks._cluster_limits import Figures, limits
from benchmarks._killed_worker import kills
from benchmarks._ray_meter import Meter, Traffic
from benchmarks._ray_nodes import two_nodes
from benchmarks._ray_store import put_and_pull
from benchmarks._timing import print_table
from benchmarks._turns import (
  Contender,
  Round,
  Setting,
  in_turns,
  median,
  median_cpu,
  merges_timed,
  seconds_more,
  setting,
  states_of,
  times,
)
from fedprox_tff.config.record import Config
from fedprox_tff.core import threads
from fedprox_tff.core.errors import RunFailedError, UserError, line_of
from fedprox_tff.datasets.base import FederatedDataset
from fedprox_tff.federated.runtimes import Cluster, Runtime
from fedprox_tff.federated.runtimes.context import MapReduceContext
from fedprox_tff.federated.runtimes.in_process import InProcessContext
from fedprox_tff.federated.runtimes.on_ray import Workers, workers_on
from fedprox_tff.machine.console import BAD_INPUT, FAILED, INTERRUPTED, say
from fedprox_tff.training import data
from fedprox_tff.training.builder import Builder
from fedprox_tff.training.client_states import ClientStates

THREAD, THREADS, WORKER, WORKERS = 'in process, 1 thread', 'in process, 2 threads', 'ray, 1 worker', 'ray, 2 workers'
AS_MANY = {WORKER: THREAD, WORKERS: THREADS}
MODELS = {'logistic': 'logistic regression', 'cnn': 'CNN'}
MB = 1e6
PAPER_MODELS = {'CNN': 4 * 1_663_370, 'ResNet-18': 4 * 11_200_000}  # bytes
PAPER_WORKERS, PAPER_CLIENTS = (10, 100, 1000), 10  # a worker


class Sizes(NamedTuple):
  """How much is measured."""

  overhead: tuple[tuple[str, int, int, int], ...]  # the model, K, E and the number of rounds
  scaling: tuple[tuple[str, int, int], ...]  # the model, K on one worker, the number of rounds
  states: tuple[int, int]  # K, the number of rounds
  killed: tuple[int, int]  # K, the number of kills


WHOLE = Sizes(
  overhead=(('logistic', 10, 20, 20), ('logistic', 1000, 1, 5), ('cnn', 10, 1, 8)),
  scaling=(('logistic', 500, 5), ('cnn', 12, 5)),
  states=(10, 6),
  killed=(24, 3),
)
QUICK = Sizes(
  overhead=(('logistic', 3, 2, 2), ('logistic', 30, 1, 2), ('cnn', 2, 1, 1)),
  scaling=(('cnn', 2, 1),),
  states=(2, 1),
  killed=(6, 1),
)


Overhead = tuple[int, Mapping[str, Sequence[Round]]]  # K, and rounds by place


class Bench:
  """What all measurements share: the federation, the places to train in, and what was built."""

  def __init__(self, dataset: FederatedDataset, meter: Meter, places: Mapping[str, Runtime]):
    self.meter, self.places, self._dataset = meter, places, dataset
    builder, kinds = Builder(), (('logistic', 'fedavg'), ('cnn', 'fedavg'), ('cnn', 'scaffold'))
    built = {kind: builder.build(self._config(*kind), dataset) for kind in kinds}
    # A context knows one set of tensors as the examples that clients have in common, and one initial state.
    *_, last = built.values()
    self._experiments = {kind: each._replace(train_examples=last.train_examples) for kind, each in built.items()}
    load = functools.partial(data.load_for_clients, self._config(*kinds[0]).record())
    for place in places.values():
      place.share(last.train_examples, load, dataset.fingerprint, tf.nest.flatten(last.initial_client_state))

  def _config(self, model: str, algorithm: str, **flags: Any) -> Config:
    return Config.from_flags({'dataset': self._dataset.name, 'model': model, 'algorithm': algorithm, **flags})

  def setting(self, model: str, clients: int, epochs: int, rounds: int, algorithm: str = 'fedavg') -> Setting:
    """Returns rounds of a model, of all clients where there are fewer than K."""
    clients = min(clients, self._dataset.num_clients)
    config = self._config(model, algorithm, clients_per_round=clients, epochs=epochs)
    return setting(config, self._experiments[model, algorithm], rounds)

  def contender(self, given: Setting, place: str, states: ClientStates | None = None) -> Contender:
    """Returns a setting in a place; one thread may use one core, as one worker may."""
    cores = {max(os.sched_getaffinity(0))} if place == THREAD else None
    return Contender(given, self.places[place], states, cores=cores)

  def traffic(self, contender: Contender) -> Traffic:
    """Returns what goes through the driver in a round."""
    self.meter.traffic, self.meter.counts = Traffic(), True
    try:
      contender.go(0)
    finally:
      self.meter.counts = False
    return self.meter.traffic


def overheads(bench: Bench, sizes: Sizes, measured: list[Overhead]) -> Iterator[tuple[str, ...]]:
  """Yields a row for each place of each setting; `measured` gets the rounds."""
  for model, clients, epochs, rounds in sizes.overhead:
    given = bench.setting(model, clients, epochs, rounds)
    taken = in_turns({name: bench.contender(given, name) for name in bench.places})
    measured.append((given.clients, taken))
    for name, its in taken.items():
      against, a_client = '', ''
      if name in AS_MANY:
        others = taken[AS_MANY[name]]
        against, a_client = f'{times(its, others):.2f}', f'{seconds_more(its, others) / given.clients * 1e3:.2f}'
      yield (
        *(f'{MODELS[model]}, K = {given.clients:,}, E = {epochs}', name, f'{median(its) * 1e3:,.1f}'),
        *(f'{times(its, taken[THREAD]):.2f}', against, a_client, f'{median_cpu(its) * 1e3:,.1f}'),
      )


def say_overhead(few: Overhead, many: Overhead) -> None:
  """Splits what a round of the same model costs more into that of a round and that of a client."""
  for name, other in AS_MANY.items():
    (k, more), (other_k, more_of_many) = ((k, seconds_more(taken[name], taken[other])) for k, taken in (few, many))
    a_client = (more_of_many - more) / (other_k - k)
    print(
      f'{name}: {(more - k * a_client) * 1e3:,.1f} ms more a round and {a_client * 1e6:.0f} µs more a client '
      f'than {other}',
      flush=True,
    )


def state_contenders(bench: Bench, sizes: Sizes, folder: str) -> dict[tuple[str, str], Contender]:
  """Returns FedAvg and SCAFFOLD with the convolutional network, by what clients keep and the place."""
  clients, rounds = sizes.states
  fedavg, scaffold = (bench.setting('cnn', clients, 1, rounds, algorithm) for algorithm in ('fedavg', 'scaffold'))
  found = {}
  for number, place in enumerate((THREADS, WORKERS)):
    found['FedAvg', place] = bench.contender(fedavg, place)
    for kept, where in (('memory', 'in memory'), ('disk', 'on disk')):
      states = states_of(scaffold.experiment, os.path.join(folder, f'{number}_{kept}'), kept)
      found[f'SCAFFOLD, states {where}', place] = bench.contender(scaffold, place, states)
  return found


def state_rows(contenders: Mapping[tuple[str, str], Contender]) -> Iterator[tuple[str, ...]]:
  """Yields a row for each, against FedAvg in the same place."""
  taken = in_turns(contenders)
  for (method, place), its in taken.items():
    plain, clients = taken['FedAvg', place], contenders[method, place].setting.clients
    yield (
      *(method, place, f'{median(its) * 1e3:,.0f}', f'{times(its, plain):.2f}'),
      *(f'{seconds_more(its, plain) / clients * 1e3:,.1f}', f'{median_cpu(its) * 1e3:,.0f}'),
    )


def traffic_rows(bench: Bench, contenders: Mapping[str, Contender]) -> Iterator[tuple[str, ...]]:
  """Yields a row for each contender, against the first."""
  first = None
  for name, contender in contenders.items():
    traffic = bench.traffic(contender)
    first = first or traffic.total
    yield (
      *(name, f'{contender.setting.clients:,}', f'{traffic.blocks}'),
      *(f'{part / MB:.2f}' for part in (traffic.message, traffic.sent, traffic.returned)),
      *(f'{traffic.total / MB:.2f}', f'{traffic.total / first:.2f}'),
    )


def kill_rows(bench: Bench, sizes: Sizes, workers: list[int]) -> Iterator[tuple[str, ...]]:
  """Yields a row for each killed worker."""
  clients, number = sizes.killed
  contender = bench.contender(bench.setting('cnn', clients, 1, 1), WORKERS)
  contender.warm_up()
  for place, cost in enumerate(kills(contender, bench.meter, workers, number)):
    meanwhile = ('', '')
    if cost.meanwhile is not None:
      meanwhile = f'{cost.meanwhile:.2f}', f'{cost.meanwhile / cost.undisturbed:.2f}'
    yield (
      *(f'{place + 1}', f'{cost.undisturbed:.2f}', f'{cost.disturbed:.2f}', f'{cost.disturbed / cost.undisturbed:.2f}'),
      *(*meanwhile, f'{cost.replaced:.1f}'),
    )


def scaling_rows(bench: Bench, sizes: Sizes) -> Iterator[tuple[str, ...]]:
  """Yields a row for each model and kind of place: a round, and one with twice the clients on twice as much."""
  for model, clients, rounds in sizes.scaling:
    given = bench.setting(model, clients, 1, rounds)
    contenders = {name: bench.contender(given, name) for name in (THREAD, WORKER)}
    contenders |= {name: bench.contender(given.twice(), name) for name in (THREADS, WORKERS)}
    taken = in_turns(contenders)
    for single, double in ((THREAD, THREADS), (WORKER, WORKERS)):
      yield (
        *(MODELS[model], single, f'{given.clients:,}', f'{median(taken[single]) * 1e3:,.0f}'),
        *(double, f'{2 * given.clients:,}', f'{median(taken[double]) * 1e3:,.0f}'),
        f'{times(taken[double], taken[single]):.2f}',
      )


def figures_of(bench: Bench, sizes: Sizes) -> Figures:
  """Measures what the driver's machine takes for a byte of the convolutional network."""
  contender = bench.contender(bench.setting('cnn', sizes.killed[0], 1, 1), WORKERS)
  model_bytes = sum(weight.nbytes for weight in contender.setting.experiment.initial_weights)
  contender.warm_up()
  with merges_timed() as seconds:
    for _ in range(3):
      contender.go(0)
  put, pull = put_and_pull(bench.meter.ray, model_bytes)
  return Figures(sorted(seconds)[len(seconds) // 2] / model_bytes, put / model_bytes, pull / model_bytes)


def limit_rows(figures: Figures, client_seconds: float) -> Iterator[tuple[str, ...]]:
  """Yields what a cluster of so many workers on as many nodes would be held up by."""
  for model, model_bytes in PAPER_MODELS.items():
    for workers in PAPER_WORKERS:
      clients = PAPER_CLIENTS * workers
      slow, fast = (
        limits(
          figures,
          model_bytes=model_bytes,
          nodes=workers,
          workers=workers,
          clients=clients,
          bits_a_second=bits,
        )
        for bits in (1e9, 1e10)
      )
      work = f'{PAPER_CLIENTS * client_seconds:.1f}' if model == 'CNN' else ''
      yield (
        *(model, f'{workers:,}', f'{slow.blocks:,}', f'{slow.sent / 1e9:.2f}', f'{slow.returned / 1e9:.2f}'),
        *(f'{part:,.2f}' for part in (slow.merge, slow.store, slow.network, fast.network)),
        *(slow.slowest, fast.slowest, work),
      )


def measure(bench: Bench, sizes: Sizes, workers: list[int], folder: str) -> None:
  """Prints all tables; `workers` are the places of the two workers of one context."""
  measured: list[Overhead] = []
  print('\nOverhead\n')
  columns = ('', 'where', 'ms a round', 'times 1 thread', 'times as many threads', 'ms more a client')
  print_table((*columns, "driver's CPU, ms a round"), overheads(bench, sizes, measured))
  print()
  say_overhead(*measured[:2])

  print('\nStates of clients: in memory through the driver, on disk by the workers\n')
  contenders = state_contenders(bench, sizes, folder)
  columns = ('CNN', 'where', 'ms a round', 'times FedAvg', 'ms more a client', "driver's CPU, ms a round")
  print_table(columns, state_rows(contenders))

  print('\nWhat the driver sends and gets in a round\n')
  cnn = bench.setting('cnn', sizes.states[0], 1, 1)
  counted = {'CNN, FedAvg, 1 worker': bench.contender(cnn, WORKER)}
  counted |= {f'CNN, {method}, 2 workers': c for (method, place), c in contenders.items() if place == WORKERS}
  many = bench.setting('logistic', sizes.overhead[1][1], 1, 1)
  counted['logistic regression, FedAvg, 2 workers'] = bench.contender(many, WORKERS)
  columns = ('', 'K', 'blocks', 'MB of message, to each node', 'MB sent with calls', 'MB returned', 'MB in all')
  print_table((*columns, 'times the first'), traffic_rows(bench, counted))

  print('\nTwice as many clients on twice as many workers\n')
  columns = ('', 'where', 'K', 'ms a round', 'where', 'K', 'ms a round', 'times as long')
  print_table(columns, scaling_rows(bench, sizes))

  figures = figures_of(bench, sizes)
  print(f'\nA worker is killed: CNN, K = {sizes.killed[0]}, {WORKERS}\n')
  columns = ('kill', 's a round', 's with the kill', 'times', 's a round until the new one works', 'times')
  print_table((*columns, 's from the kill to its first answer'), kill_rows(bench, sizes, workers))

  clients, taken = measured[-1]
  client_seconds = median(taken[THREAD]) / clients
  print(
    f'\nOn paper, a worker a node, {PAPER_CLIENTS} clients a worker: of a model, the driver merges '
    f'{1e-6 / figures.merge:,.0f} MB/s, puts {1e-6 / figures.put:,.0f} MB/s into the object store and has '
    f"{1e-6 / figures.pull:,.0f} MB/s from another node's\n"
  )
  columns = ('', 'workers', 'blocks', 'GB sent', 'GB returned', 's merge', 's object store', 's 1 Gbit/s')
  columns = (*columns, 's 10 Gbit/s', 'limit at 1 Gbit/s', 'limit at 10 Gbit/s', "s of clients' work, E = 1")
  print_table(columns, limit_rows(figures, client_seconds))


def run(dataset_name: str, sizes: Sizes) -> None:
  """Starts the cluster and measures on it."""
  threads.pin()
  with contextlib.ExitStack() as stack:
    meter = stack.enter_context(two_nodes('benchmarks.cluster'))
    _, dataset = data.load_or_fall_back({'dataset': dataset_name, 'fallback_dataset': 'digits'}, print)
    folder = stack.enter_context(tempfile.TemporaryDirectory(dir=os.environ.get('TMPDIR')))
    contexts = {
      THREAD: stack.enter_context(contextlib.closing(InProcessContext(num_threads=1))),
      THREADS: stack.enter_context(contextlib.closing(InProcessContext(num_threads=2))),
    }
    tff.framework.set_default_context(InProcessContext())  # TFF's own complains at the end of the interpreter
    crews, workers_of = {}, {}
    for name, workers in ((WORKERS, 2), (WORKER, 1)):  # two first: they are spread over both nodes
      start = len(meter.actors)
      cluster = Cluster(workers=workers, wait_seconds=120.0)
      workers_of[name] = stack.enter_context(workers_on(meter, cluster, device='cpu'))
      contexts[name] = MapReduceContext(workers_of[name])
      crews[name] = list(range(start, len(meter.actors)))
    for name in crews:
      _assemble(workers_of[name])
    _check_cores(meter, crews[WORKERS])
    runtimes = {name: 'ray' if name in crews else 'in_process' for name in (THREAD, THREADS, WORKER, WORKERS)}
    places = {
      name: Runtime(kind, '/CPU:0', lambda: 0.0, contexts[name], workers=workers_of.get(name))
      for name, kind in runtimes.items()
    }
    print(f'{dataset.name}, {len(os.sched_getaffinity(0))} cores, two nodes of one core each', flush=True)
    measure(Bench(dataset, meter, places), sizes, crews[WORKERS], folder)


def _assemble(workers: Workers) -> None:
  """Waits until all workers are there.

  Raises:
    RunFailedError: If they do not come.
  """
  for _ in range(4):  # each time for half a minute
    said: list[str] = []
    workers.begin(said.append)
    if len(said) == 1:  # otherwise it says that others are awaited
      return
  raise RunFailedError(said[-1])


def _check_cores(meter: Meter, workers: Sequence[int]) -> None:
  """Makes sure that workers have a core each, as far as there are so many.

  Raises:
    RunFailedError: If they do not: Ray has put them on one node.
  """
  cores = set().union(*(os.sched_getaffinity(meter.pid(place)) for place in workers))
  if len(cores) < min(len(workers), len(os.sched_getaffinity(0))):
    raise RunFailedError('both workers are on one node; the same command may have more luck.')


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--dataset', default='mnist', choices=('mnist', 'digits'))
  parser.add_argument('--quick', action='store_true', help='next to nothing, to see that it works')
  given = parser.parse_args()
  code = 0
  try:
    run(given.dataset, QUICK if given.quick else WHOLE)
  except UserError as error:
    say(f'error: {line_of(error)}', stream=sys.stderr)
    code = BAD_INPUT
  except (RunFailedError, OSError) as error:
    say(f'error: {line_of(error)}', stream=sys.stderr)
    code = FAILED
  except KeyboardInterrupt:
    code = INTERRUPTED
  if code:
    sys.exit(code)


if __name__ == '__main__':
  main()
