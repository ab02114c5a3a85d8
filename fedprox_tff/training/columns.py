# SPDX-License-Identifier: Apache-2.0
"""The columns of metrics.csv: what each holds, its unit, and what an axis of a figure calls it.

A row is written for each round, from round 0, which is before training. Rounds that were not evaluated have NaN in the
columns of an evaluation. Methods add columns of their own, which `Algorithm.columns` declares.
"""

from collections.abc import Mapping

from fedprox_tff.algorithms import ALGORITHMS
from fedprox_tff.core.columns import Column

ROUND_NUM = Column('round_num', 'rounds done; 0 is before training', 'rounds', '# Rounds')

TEST_ACCURACY = Column(
  'test/accuracy',
  "accuracy of the global model over all clients' test examples: the mean over clients, weighted by their numbers of "
  "examples; FedExP's model is the mean of its last two iterates",
  label='Test accuracy (%)',
  percent=True,
)
TEST_ACCURACY_P10 = Column(
  'test/accuracy_p10',
  "the 10th percentile over clients of the global model's accuracy on a client's own test examples; each client counts "
  'once',
  label='Test accuracy of the\n10th percentile (%)',
  percent=True,
)
TEST_LOSS = Column(
  'test/loss', "cross-entropy of the global model over all clients' test examples", 'nats', 'Test loss'
)
TRAIN_ACCURACY = Column(
  'train/accuracy',
  "accuracy of the global model over all clients' training examples",
  label='Training accuracy (%)',
  percent=True,
)
TRAIN_LOSS = Column(
  'train/loss',
  "cross-entropy of the global model over all clients' training examples: the global objective f(w)",
  'nats',
  'Training loss',
)

UPDATE_NORM = Column(
  'train/update_norm',
  "L2 norm of the clients' weighted mean of w^t - w_k; with fedavg_m and mofedsam, of their direction; "
  'with fednova, of the mean direction of a local step; with qfedavg, of F_k^q (w^t - w_k)',
  label='Norm of the update',
)

COHORT_SIZE = Column('cohort/size', 'clients that were selected for the round', 'clients')
COHORT_STRAGGLERS = Column('cohort/stragglers', 'of these, how many were stragglers', 'clients')
COHORT_DROPPED = Column('cohort/dropped', 'of these, how many were left out because they straggled', 'clients')
COHORT_EPOCHS = Column('cohort/epochs', 'local epochs that the cohort did, all clients together', 'epochs')
COHORT_STEPS = Column('cohort/steps', 'local steps that the cohort took, all clients together', 'steps')
COHORT_GRADIENTS = Column(
  'cohort/gradients',
  "gradients of batches that the cohort computed, all clients together; a pass over all of a client's examples counts "
  'as all of its batches',
  'gradients',
)
COHORT_FLOATS = Column('cohort/floats', 'numbers that the server and the cohort sent each other', 'numbers')
COHORT_NON_FINITE = Column(
  'cohort/non_finite', 'clients that were left out because their update was not finite; a run warns of them', 'clients'
)
COHORT_SKIPPED = Column(
  'cohort/skipped',
  '1 if the server took no step, because no client contributed or the step would not have led to finite weights; '
  'otherwise 0',
)

DISSIMILARITY_VARIANCE = Column(
  'dissimilarity/variance',
  "with --rounds_per_dissimilarity: the variance of the clients' full gradients at w^t, as the authors compute it",
  label='Variance of\nlocal grad.',
)
DISSIMILARITY_B = Column(
  'dissimilarity/b',
  "with --rounds_per_dissimilarity: the paper's dissimilarity B(w^t)",
  label=r'Dissimilarity $B(w)$',
)
GAMMA_MEAN = Column(
  'gamma/mean',
  "with --measure_gamma: mean inexactness of the cohort's solutions; 0 is an exact solution, 1 is no work",
  label='Mean $\\gamma$ of\nthe cohort',
)
GAMMA_MAX = Column(
  'gamma/max',
  "with --measure_gamma: the largest inexactness of the cohort's solutions",
  label='Largest $\\gamma$ of\nthe cohort',
)

_WITH_OWN_MODELS = [name for name, factory in ALGORITHMS.items() if factory().client.has_own_model]
PERSONAL_ACCURACY = Column(
  'personal/accuracy',
  f"accuracy of the clients' own models ({', '.join(_WITH_OWN_MODELS)}) on their own test examples, weighted by their "
  'numbers of examples; a client that has never taken part uses the global model, or what the method makes of it',
  label='Test accuracy of\nown models (%)',
  percent=True,
)
PERSONAL_ACCURACY_P10 = Column(
  'personal/accuracy_p10',
  "the 10th percentile over clients of the accuracy of clients' own models; each client counts once",
  label='Accuracy of own models,\n10th percentile (%)',
  percent=True,
)
PERSONAL_LOSS = Column(
  'personal/loss',
  "cross-entropy of the clients' own models on their own test examples",
  'nats',
  'Test loss of\nown models',
)

# In figures, the global model stands in for the own ones of a method whose clients have none: it is what serves them.
SERVED = {
  PERSONAL_ACCURACY.name: TEST_ACCURACY.name,
  PERSONAL_ACCURACY_P10.name: TEST_ACCURACY_P10.name,
  PERSONAL_LOSS.name: TEST_LOSS.name,
}

SECONDS_TRAIN = Column('seconds/train', "wall time of the round's training", 'seconds')
SECONDS_EVALUATION = Column('seconds/evaluation', "wall time of the round's evaluation", 'seconds')
MEMORY_PROCESS = Column('memory/process_mb', 'resident memory of the process', 'MiB')
MEMORY_WORKER = Column('memory/worker_mb', "resident memory of TFF's worker; 0 without one", 'MiB')

# What an evaluation of the global model measures: a round was evaluated if any of these is not NaN.
EVALUATION = (TEST_ACCURACY, TEST_LOSS, TRAIN_ACCURACY, TRAIN_LOSS)

# What methods declare: each is a client hyperparameter's value in the round, 0 for methods without it.
OF_METHODS: Mapping[str, Column] = {
  column.name: column for factory in ALGORITHMS.values() for column in factory().columns
}

COLUMNS: Mapping[str, Column] = {
  **{column.name: column for column in [value for value in vars().values() if isinstance(value, Column)]},
  **OF_METHODS,
}
