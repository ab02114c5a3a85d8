# SPDX-License-Identifier: Apache-2.0
"""Who takes part in a round, and how much each one can do (Li et al., arXiv:1812.06127, section 5.2 and Figure 12).

Pure in (seed, round_num): the choice of method does not affect these random draws. Methods with one seed meet the same
clients, the same stragglers and the same budgets. Of a cohort of K, round(K (1 - s)) clients are on time and do all E
epochs. The others are stragglers, whose number of epochs is uniform in {1, ..., E - 1}, as in the authors' code (their
text says [1, E]). For E = 1, where their code fails, a straggler's budget is uniform in {1, ..., S - 1} of the S local
steps of its epoch
(1 if S = 1). Where a run counts local steps and not epochs, L of them, it is uniform in {1, ..., L - 1} (1 if L = 1). A
client's budget is its own draw: it is the same at 50 % and at 90 % stragglers, and the stragglers at
50 % are among those at 90 %.

Where this departs from the authors' code: there, cohorts are seeded by the round alone, whatever the seed of the run;
and a straggler's epochs come from a generator that the previous client has just reset, which makes them a fixed
function of that client's number of examples.
"""

from typing import NamedTuple

import numpy as np

from fedprox_tff.core import streams


class Participant(NamedTuple):
  """A client in a cohort."""

  client: int  # index of the client
  num_steps: int  # local steps that it takes; 0 if it is dropped
  num_epochs: float  # the same in epochs
  weight: float  # its mass in the server's mean; 0 if it is dropped, or has no examples
  straggler: bool
  dropped: bool


def sample_cohort(
  num_examples: np.ndarray,
  *,
  seed: int,
  round_num: int,
  clients_per_round: int,
  epochs: int | None,
  batch_size: int,
  stragglers: float,
  straggler_policy: str,
  sampling: str = 'uniform',
  weighting: str = 'examples',
  local_steps: int | None = None,
) -> list[Participant]:
  """Draws the cohort of one round.

  Args:
    num_examples: n_k of every client, int [num_clients].
    seed: The run's seed.
    round_num: The round, from 1.
    clients_per_round: K, at most the number of clients.
    epochs: E, the local epochs of a client that is on time; None where `local_steps` are counted.
    batch_size: B, examples in a local step.
    stragglers: The share s of the cohort, 0 to 1, that cannot do E epochs.
    straggler_policy: 'partial' keeps their partial work (FedProx), 'drop' leaves them out (FedAvg).
    sampling: 'uniform' without replacement (the paper's experiments), or 'proportional': each place in the cohort goes
      to client k with probability p_k = n_k / n, with replacement (Algorithms 1 and 2; its theory). A client that is
      drawn into several places, one of them on time, is on time in all, so that there may be fewer stragglers.
    weighting: 'examples' weighs client k by n_k, 'uniform' by 1. The paper pairs uniform sampling with the first and
      proportional sampling with the second.
    local_steps: The local steps of a client that is on time, in the place of epochs.

  Returns:
    K participants in the order of the draw.
  """
  clients = _sample(num_examples, streams.generator('cohort', seed, round_num), clients_per_round, sampling)
  num_active = round(clients_per_round * (1 - stragglers))
  order = streams.generator('stragglers', seed, round_num).permutation(clients_per_round)
  late = set(clients[order[num_active:]].tolist()) - set(clients[order[:num_active]].tolist())
  participants = []
  for client in clients.tolist():
    steps_per_epoch = -(-int(num_examples[client]) // batch_size)
    num_steps = epochs * steps_per_epoch if local_steps is None else local_steps * bool(steps_per_epoch)
    dropped = client in late and straggler_policy == 'drop'
    if dropped:
      num_steps = 0
    elif client in late:
      rng = streams.generator('budget', seed, round_num, client)
      num_steps = _budget(rng, num_steps, steps_per_epoch, in_epochs=local_steps is None and epochs > 1)
    weight = 0.0 if not num_steps else float(num_examples[client]) if weighting == 'examples' else 1.0
    participants.append(
      Participant(client, num_steps, num_steps / max(1, steps_per_epoch), weight, client in late, dropped)
    )
  return participants


def with_at_most(participants: list[Participant], num_steps: int) -> list[Participant]:
  """Returns the participants with budgets of at most `num_steps` local steps."""
  return [
    p
    if p.num_steps <= num_steps
    else p._replace(num_steps=num_steps, num_epochs=p.num_epochs * num_steps / p.num_steps)
    for p in participants
  ]


def _sample(num_examples: np.ndarray, rng: np.random.Generator, size: int, sampling: str) -> np.ndarray:
  if sampling == 'proportional':
    return rng.choice(len(num_examples), size, replace=True, p=num_examples / num_examples.sum())
  return rng.choice(len(num_examples), size, replace=False)


def _budget(rng: np.random.Generator, num_steps: int, steps_per_epoch: int, *, in_epochs: bool) -> int:
  """Returns a straggler's number of local steps, where it would have taken `num_steps` if it were on time."""
  if not num_steps:
    return 0
  if in_epochs:
    return int(rng.integers(1, num_steps // steps_per_epoch)) * steps_per_epoch
  return int(rng.integers(1, max(2, num_steps)))
