# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from fedprox_tff.config.flags import FLAGS, KINDS
from fedprox_tff.config.record import PLACES, Config
from fedprox_tff.core.errors import UserError


def test_defaults_are_the_papers_setting_for_mnist():
  paper = {
    'dataset': 'mnist',
    'partition': 'power_law',
    'num_clients': 1000,
    'model': 'logistic',
    'algorithm': 'fedprox',
    'mu': 1.0,
    'client_optimizer': 'sgd',
    'learning_rate': 0.03,
    'server_optimizer': 'sgd',
    'server_learning_rate': 1.0,
    'rounds': 100,
    'clients_per_round': 10,
    'sampling': 'uniform',
    'weighting': 'examples',
    'epochs': 20,
    'batch_size': 10,
    'stragglers': 0.0,
    'straggler_policy': 'partial',
  }
  flat = Config.from_flags({}).flat()
  assert {key: flat[key] for key in paper} == paper


def test_fedavg_drops_stragglers_unless_told_otherwise():
  assert Config.from_flags({'algorithm': 'fedavg'}).straggler_policy == 'drop'
  assert Config.from_flags({'algorithm': 'fedavg', 'straggler_policy': 'partial'}).straggler_policy == 'partial'


def test_an_algorithm_brings_its_own_defaults():
  fedadam = Config.from_flags({'algorithm': 'fedadam'})
  assert (fedadam.server_optimizer, fedadam.server_learning_rate, fedadam.weighting) == (None, None, 'examples')
  assert (fedadam.flat()['server_learning_rate'], fedadam.algorithm.arguments['beta_2']) == (0.1, 0.99)
  delta_sgd = Config.from_flags({'algorithm': 'delta_sgd'})
  assert (delta_sgd.client_optimizer, delta_sgd.learning_rate, delta_sgd.weighting) == (None, None, 'uniform')
  assert Config.from_flags({'algorithm': 'dualprox'}).algorithm.arguments['mu'] == 0.01
  assert Config.from_flags({'algorithm': 'dualprox', 'mu': 1}).name == 'dualprox-mnist-mu=1.0'


def test_a_data_set_brings_its_own_defaults():
  synthetic = Config.from_flags({'dataset': 'synthetic'})
  assert (synthetic.flat()['num_clients'], synthetic.learning_rate, synthetic.partition) == (30, 0.01, None)
  assert Config.from_flags({'dataset': 'digits'}).flat()['num_clients'] == 100


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    ({'mu': 'abc'}, '--mu=abc: a number of at least 0 or the word adaptive is needed.'),
    ({'mu': '-1'}, '--mu=-1: a number of at least 0 or the word adaptive is needed.'),
    ({'mu': 'nan'}, '--mu=nan: a number of at least 0 or the word adaptive is needed.'),
    ({'mu': 'inf'}, '--mu=inf: a number of at least 0 or the word adaptive is needed.'),
    ({'rounds': '1.5'}, '--rounds=1.5: a whole number of at least 0 is needed.'),
    ({'rounds': 1.5}, '--rounds=1.5: a whole number of at least 0 is needed.'),
    ({'rounds': True}, '--rounds=True: a whole number of at least 0 is needed.'),
    ({'stragglers': '1.1'}, '--stragglers=1.1: a number from 0 to 1 is needed.'),
    ({'dataset': 'mnst'}, '--dataset=mnst: one of '),
    (
      {'algorithm': 'fedavg', 'mu': '1'},
      '--mu=1: algorithm fedavg does not use it (dualprox, ',
    ),
    ({'dirichlet_alpha': '1'}, '--dirichlet_alpha=1: partition power_law does not use it (dirichlet does)'),
    ({'dataset': 'synthetic', 'partition': 'iid'}, '--partition=iid: dataset synthetic comes split over clients'),
    ({'dataset': 'synthetic', 'dirichlet_alpha': 1}, '--dirichlet_alpha=1: dataset synthetic comes split over clients'),
    ({'dataset': 'synthetic', 'data_dir': 'x'}, '--data_dir=x: dataset synthetic does not use it'),
    ({'dataset': 'leaf'}, '--dataset=leaf needs --data_dir'),
    ({'clients_per_round': '1001'}, '--clients_per_round=1001: at most the 1000 clients'),
    ({'client_optimizer': 'adm'}, '--client_optimizer=adm: one of sgd, adagrad, adam'),
    ({'name': 'a/b'}, '--name=a/b: the name of one folder is needed'),
    ({'name': '..'}, '--name=..: the name of one folder is needed'),
    ({'mu': 'adaptive', 'rounds_per_evaluation': 2}, '--rounds_per_evaluation=1 is needed'),
    ({'initial_mu': 1}, '--initial_mu=1: only --mu=adaptive uses it.'),
    ({'algorithm': 'fedavg', 'initial_mu': 1}, '--initial_mu=1: algorithm fedavg does not use it'),
    ({'algorithm': 'fedexp', 'mu': 'adaptive'}, '--mu=adaptive: a number of at least 0 is needed.'),
    (
      {'algorithm': 'fedadam', 'server_optimizer': 'adam'},
      "--server_optimizer=adam: algorithm fedadam, which is a rule for the server's step, does not use it (delta_sgd, ",
    ),
    ({'algorithm': 'fedexp', 'server_learning_rate': 1}, 'algorithm fedexp, which is a rule for the'),
    (
      {'algorithm': 'delta_sgd', 'learning_rate': 1},
      '--learning_rate=1: algorithm delta_sgd, which finds its own step sizes, does not use it',
    ),
    (
      {'algorithm': 'fedavg_m', 'client_optimizer': 'adam'},
      '--client_optimizer=adam: clients of fedavg_m take steps of plain',
    ),
    ({'algorithm': 'fednova', 'client_optimizer': 'adam'}, '--client_optimizer=adam: fednova knows what a local step'),
    ({'algorithm': 'fedgm', 'nu': 2}, '--nu=2: a number from 0 to 1 is needed.'),
    ({'roundz': '1'}, '--roundz is not a flag'),
    ({'algorithm': 'scaffnew', 'clients_per_round': 10}, '--clients_per_round=10: scaffnew needs all clients in every'),
    (
      {'algorithm': 'scaffnew', 'sampling': 'proportional'},
      '--sampling=proportional: scaffnew needs all clients in every',
    ),
    (
      {'algorithm': 'scaffnew', 'stragglers': 0.5, 'straggler_policy': 'drop'},
      '--straggler_policy=drop: scaffnew needs',
    ),
    (
      {'algorithm': 'scaffnew', 'weighting': 'examples'},
      '--weighting=examples: scaffnew is defined for the plain mean',
    ),
    (
      {'algorithm': 'scaffnew', 'dataset': 'leaf', 'data_dir': 'x'},
      '--clients_per_round: scaffnew needs all clients in every round, and their number is needed.',
    ),
    (
      {'algorithm': 'scaffold', 'client_optimizer': 'adam'},
      '--client_optimizer=adam: clients of scaffold take steps of plain',
    ),
    (
      {'algorithm': 'fedrep', 'client_optimizer': 'sgd:momentum=0.5'},
      '--client_optimizer=sgd:momentum=0.5: clients of fedrep take steps of plain SGD; sgd without momentum is needed.',
    ),
    (
      {'algorithm': 'fedrep', 'epochs': 10},
      '--epochs=10: the first 10 epochs of fedrep train what stays on clients; at least 11 are needed.',
    ),
    ({'algorithm': 'fedrep', 'head_epochs': 20}, '--epochs=20: the first 20 epochs of fedrep train'),
    ({'algorithm': 'fedrep', 'head_epochs': 1001}, '--head_epochs=1001: a whole number from 0 to 1000 is needed.'),
    ({'algorithm': 'scaffold', 'scaffold_option': 3}, '--scaffold_option=3: one of 1, 2 is needed.'),
    ({'algorithm': 'fednar', 'scaffold_option': 1}, '--scaffold_option=1: only --backbone=scaffold uses it.'),
    ({'algorithm': 'fedexp', 'backbone': 'scaffold', 'mu': 1}, '--mu=1: only --backbone=fedprox uses it.'),
    ({'algorithm': 'scaffold', 'sampling': 'proportional'}, "--sampling=proportional: scaffold's server counts each"),
    ({'algorithm': 'fedavg', 'client_states': 'disk'}, '--client_states=disk: clients of fedavg keep no state.'),
    (
      {'algorithm': 'fednar', 'client_optimizer': 'adamw'},
      '--client_optimizer=adamw: its weight_decay and that of fednar are two values of one name',
    ),
    ({'client_optimizer': 'adam:beta_1=2'}, '--client_optimizer=adam:beta_1=2: adam:beta_1= and a number from 0 to 1'),
    ({'client_optimizer': 'sgd:momentum=x'}, 'sgd:momentum= and a number from 0 to 1 is needed.'),
    ({'client_optimizer': 'sgd:speed=1'}, 'sgd or sgd:key=value,... with keys from momentum is needed.'),
    ({'name': 'é' * 128}, 'a name of at most 255 bytes is needed.'),
    ({'name': ''}, '--name=: text of at least one character'),
    ({'runtime': 'worker', 'device': 'gpu'}, "--device=gpu: TFF's worker has no GPU kernels"),
    ({'workers': 2}, '--workers=2: only --runtime=ray has workers.'),
    ({'runtime': 'worker', 'ray_address': 'local'}, '--ray_address=local: only --runtime=ray has workers.'),
    ({'wait_for_workers': 0}, '--wait_for_workers=0.0: only --runtime=ray has workers.'),
    ({'runtime': 'ray', 'gpus_per_worker': 0.5}, '--gpus_per_worker=0.5: only --device=gpu uses GPUs.'),
    ({'client_optimizer': 'sgd:momentum=0.9,momentum=0.8'}, 'sgd with momentum only once is needed.'),
    ({'dataset': 'leaf', 'data_dir': '/' + 'x' * 250}, 'a name of at most 255 bytes is needed.'),
  ],
)
def test_bad_input_is_one_line_with_flag_value_and_what_is_allowed(given, message):
  with pytest.raises(UserError) as error:
    Config.from_flags(given)
  assert message in str(error.value)
  assert '\n' not in str(error.value)


def test_a_name_is_made_of_what_differs_from_the_defaults():
  assert Config.from_flags({}).name == Config.from_flags({'mu': '1', 'rounds': '100'}).name == 'fedprox-mnist'
  assert Config.from_flags({'mu': '0', 'stragglers': '0.9'}).name == 'fedprox-mnist-mu=0.0-stragglers=0.9'
  assert (
    Config.from_flags({'dataset': 'synthetic', 'synthetic_beta': '0'}).name == 'fedprox-synthetic-synthetic_beta=0.0'
  )
  assert Config.from_flags({'name': 'mine'}).name == 'mine'
  assert Config.from_flags({'dataset': 'leaf', 'data_dir': '/data/femnist/'}).name == 'fedprox-leaf-femnist'


def test_every_value_that_changes_results_changes_the_name():
  """Two configs that differ must not share a folder."""
  different = {
    'data_seed': 1, 'partition': 'iid', 'num_clients': 500, 'model': 'cnn', 'mu': 0.5, 'client_optimizer': 'adam',
    'learning_rate': 0.1, 'server_optimizer': 'adam', 'server_learning_rate': 0.5, 'clients_per_round': 5,
    'sampling': 'proportional', 'weighting': 'uniform', 'epochs': 3, 'batch_size': 4, 'stragglers': 0.1,
    'straggler_policy': 'drop', 'seed': 5, 'runtime': 'worker', 'device': 'gpu', 'rounds_per_evaluation': 2,
    'rounds_per_dissimilarity': 1, 'measure_gamma': True, 'local_steps': 30, 'clip_norm': 5.0, 'l2': 0.0005,
    'learning_rate_decay': 0.5,
    'evaluation_examples': 1000,
  }  # fmt: skip
  names = {Config.from_flags({key: value}).name for key, value in different.items()}
  assert len(names | {Config.from_flags({}).name}) == len(different) + 1
  # The parameters of whatever can be chosen; what other flags choose is named by `different` or by nothing.
  chosen = {name for name, flag in FLAGS.items() if flag.owners} - different.keys() - PLACES
  for key in chosen:
    (owner, parameter), *_ = FLAGS[key].owners
    kind = next(kind for kind, table in KINDS.items() if owner in table)
    base = {kind: owner} | {'initial_mu': {'mu': 'adaptive'}}.get(key, {})
    base |= {'backbone': 'scaffold'} if (owner, key) == ('fedexp', 'scaffold_option') else {}
    default = Config.from_flags(base)
    others = [choice for choice in parameter.table or parameter.choices if choice != default.flat()[key]]
    value = others[0] if others else {bool: True, float: 0.125, int: 7, str: 'other.txt'}[parameter.kind]
    name = Config.from_flags({**base, key: value}).name
    assert f'-{key}={value}' in name
    assert name != default.name
  silent = PLACES | {'rounds', 'dataset', 'algorithm', 'federation'}  # the last stands for others
  assert different.keys() | chosen | silent == set(FLAGS)


def test_a_method_of_full_participation_takes_all_clients():
  assert Config.from_flags({'algorithm': 'scaffnew'}).clients_per_round == 1000
  assert Config.from_flags({'algorithm': 'scaffnew', 'num_clients': 60}).clients_per_round == 60
  assert Config.from_flags({'algorithm': 'scaffnew', 'stragglers': 0.9}).straggler_policy == 'partial'


def test_an_algorithms_record_is_that_of_its_arguments():
  """SCAFFOLD averages uniformly, and so does FedNAR with its clients; only its second option needs plain SGD."""
  assert Config.from_flags({'algorithm': 'fednar'}).weighting == 'examples'
  assert Config.from_flags({'algorithm': 'fednar', 'backbone': 'scaffold'}).weighting == 'uniform'
  adam = {'algorithm': 'scaffold', 'scaffold_option': 1, 'client_optimizer': 'adam'}
  assert Config.from_flags(adam).client_states == 'memory'


def test_another_name_of_a_method_is_read_as_its_own():
  """FedCM is FedAvg-M: one run has one name, whichever of the two somebody writes."""
  config = Config.from_flags({'algorithm': 'fedcm', 'beta': 0.2})
  assert config == Config.from_flags({'algorithm': 'fedavg_m', 'beta': 0.2})
  assert (config.record()['algorithm']['name'], config.name) == ('fedavg_m', 'fedavg_m-mnist-beta=0.2')
  with pytest.raises(UserError, match=r'--algorithm=fedcn: one of delta_sgd, .* or fedcm for fedavg_m is needed'):
    Config.from_flags({'algorithm': 'fedcn'})


def test_momentum_0_is_plain_sgd():
  """SCAFFOLD's second option needs plain SGD; the name of the run does not tell the two apart either."""
  config = Config.from_flags({'algorithm': 'scaffold', 'client_optimizer': 'sgd:momentum=0'})
  assert config.name == 'scaffold-mnist'
  assert config == Config.from_flags({'algorithm': 'scaffold'})


def test_differences_are_what_makes_another_run():
  config = Config.from_flags({})
  longer = Config.from_flags({'rounds': 7, 'results_dir': 'x', 'rounds_per_checkpoint': 3})
  assert config.differences(longer.record()) == []
  assert config.differences(Config.from_flags({'seed': 1, 'mu': 2}).record()) == ['mu', 'seed']
  assert config.differences(Config.from_flags({'mu': 'adaptive'}).record()) == ['mu', 'initial_mu']


FLAT = {  # what a config.json of version 0.1 holds, shortened: None was a flag that the run did not use
  **{'dataset': 'digits', 'data_dir': None, 'data_seed': 0, 'partition': 'power_law', 'num_clients': 100},
  **{'model': 'logistic', 'algorithm': 'fedexp', 'client_optimizer': 'adam:beta_2=0.9', 'learning_rate': 0.03},
  **{'server_optimizer': None, 'mu': 0.0, 'epsilon': 0.001, 'backbone': 'scaffold', 'scaffold_option': 1},
  **{'rounds': 3, 'weighting': 'uniform', 'seed': 2, 'measure_gamma': False, 'name': 'mine'},
}


def test_a_config_of_version_0_1_is_the_same_run():
  """It was flat, had flags that the run does not use (mu beside SCAFFOLD), and lacks those that came later."""
  config = Config.from_record(FLAT)
  flags = {'dataset': 'digits', 'algorithm': 'fedexp', 'backbone': 'scaffold', 'scaffold_option': 1, 'seed': 2}
  now = Config.from_flags({**flags, 'client_optimizer': 'adam:beta_2=0.9', 'rounds': 5})
  assert now.differences(FLAT) == []
  assert now.differences({**FLAT, 'scaffold_option': 2}) == ['scaffold_option']
  assert (config.rounds, config.name, config.epochs) == (3, 'mine', 20)


@pytest.mark.parametrize('flags', [{}, {'mu': 'adaptive'}, {'algorithm': 'fednar', 'backbone': 'scaffold'},
                                   {'algorithm': 'fedadam'}, {'dataset': 'synthetic', 'model': 'mlp_bn'},
                                   {'client_optimizer': 'adam:beta_2=0.9,epsilon=0.001'}])  # fmt: skip
def test_a_record_is_read_as_it_was_written(flags):
  config = Config.from_flags(flags)
  record = json.loads(json.dumps(config.record()))
  assert Config.from_record(record) == config
  assert hash(Config.from_record(record)) == hash(config)
  choices = ['dataset', 'model', 'algorithm']
  assert [record[key]['name'] for key in choices] == [config.flat()[key] for key in choices]


@pytest.mark.parametrize(
  'record', [[], {'dataset': {'seed': 1}}, {'speed': 1}, {'dataset': 'mnist'}, {'dataset': 'mnst'}, None]
)
def test_what_is_no_record_is_said(record):
  with pytest.raises(ValueError, match='no config of a run'):
    Config.from_record(record)


def test_a_batch_of_all_examples_is_a_word():
  config = Config.from_flags({'dataset': 'digits', 'batch_size': 'all'})
  assert (config.batch_size, config.name) == ('all', 'fedprox-digits-batch_size=all')
  assert Config.from_record(config.record()) == config
  assert config.differences(Config.from_flags({'dataset': 'digits'}).record()) == ['batch_size']


@pytest.mark.parametrize('value', ['every', 'ALL', '0', '', True, 1.5])
def test_no_other_word_is_a_batch_size(value):
  with pytest.raises(UserError, match=r'^--batch_size=.*: a whole number of at least 1 or the word all is needed\.$'):
    Config.from_flags({'dataset': 'digits', 'batch_size': value})


def test_a_federation_is_its_partition_its_alpha_and_its_clients():
  named = Config.from_flags({'dataset': 'cifar100', 'federation': 'A0d01C20'})
  written = {'partition': 'dirichlet', 'dirichlet_alpha': 0.01, 'num_clients': 20}
  assert named == Config.from_flags({'dataset': 'cifar100', **written})
  assert named == Config.from_flags({'dataset': 'cifar100', 'federation': 'A0d01C20', 'num_clients': 20})
  assert 'federation' not in named.flat()
  with pytest.raises(UserError, match=r'^--num_clients=30: --federation=A0d01C20 means --num_clients=20\.$'):
    Config.from_flags({'dataset': 'cifar100', 'federation': 'A0d01C20', 'num_clients': 30})
  with pytest.raises(UserError, match=r'^--federation=A0d01C20: dataset shakespeare comes split over clients\.$'):
    Config.from_flags({'dataset': 'shakespeare', 'federation': 'A0d01C20'})
  with pytest.raises(UserError, match=r'^--federation=A01: a name such as A0d01C100 is needed'):
    Config.from_flags({'federation': 'A01'})


def test_a_run_counts_epochs_or_local_steps():
  assert Config.from_flags({'local_steps': 30}).epochs is None
  assert 'epochs' not in Config.from_flags({'local_steps': 30}).flat()
  assert Config.from_record(Config.from_flags({'local_steps': 30}).record()).epochs is None
  with pytest.raises(UserError, match=r'^--epochs=20: --local_steps counts in their place; only one is possible\.$'):
    Config.from_flags({'local_steps': 30, 'epochs': 20})


def test_a_data_set_brings_its_model_and_no_larger_cohort_than_it_has_clients():
  assert Config.from_flags({'dataset': 'molecules'}).model.name == 'gin'
  assert Config.from_flags({'dataset': 'molecules'}).clients_per_round == 7
  assert Config.from_flags({'dataset': 'molecules'}).name == 'fedprox-molecules'
  assert Config.from_flags({'num_clients': 20}).clients_per_round == 10


def test_a_run_on_a_cluster_is_the_run_that_it_is_in_one_process():
  """It has the same name, and either goes on with the other; TFF's worker computes other bits."""
  here, worker = Config.from_flags({}), Config.from_flags({'runtime': 'worker'})
  on_ray = Config.from_flags({'runtime': 'ray', 'workers': 3})
  assert (on_ray.ray_address, on_ray.workers, on_ray.wait_for_workers) == ('auto', 3, 600.0)
  assert (here.ray_address, here.workers, here.wait_for_workers) == (None, None, None)
  assert on_ray.name == here.name != worker.name
  assert on_ray.differences(here.record()) == here.differences(on_ray.record()) == []
  assert on_ray.differences(worker.record()) == here.differences(worker.record()) == ['runtime']
