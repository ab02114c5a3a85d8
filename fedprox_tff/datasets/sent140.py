# SPDX-License-Identifier: Apache-2.0
"""Sentiment140: is a tweet meant well? Each user of Twitter is a client.

A task of LEAF (Caldas et al., arXiv:1812.01097) and of FedProx (Li et al., MLSys 2020, Section 5.1 and Appendix C.1).
LEAF's script, with the settings of the paper, draws users until 30 % of all tweets are theirs and keeps those with more
than 30; there were 772. Here 772 are drawn, by `data_seed`, among all users with at least 31. As in the script, 80 % of
a user's tweets are drawn for training.

`sent140_files` says where the tweets come from, `words` how they are split, and `tweets` which words have a place. The
paper's network knows vectors of 300 numbers, `glove.6B.300d.txt` of nlp.stanford.edu/projects/glove, which
`word_vectors` names: it is looked for where the tweets are, and in a folder `glove`. It is not downloaded; without it
an embedding learns, which is another task.

No user's name is kept: clients are numbered. The original's 1.6 million tweets have never been read by this code, which
was tried on a sample of 20,000 of them; in that, 296 users have three tweets or more, and none has 31.
"""

from typing import Annotated, Literal

import numpy as np

from fedprox_tff.core import streams
from fedprox_tff.datasets import base, sent140_files, sources, tweets
from fedprox_tff.datasets.base import Examples
from fedprox_tff.datasets.leaf_files import require
from fedprox_tff.datasets.statistics import PAPER


def sent140(
  *,
  data_dir: str | None = None,
  data_seed: int = 0,
  num_clients: int | None = None,
  min_tweets: Annotated[int, (2, None)] = 31,
  num_words: Annotated[int, (1, None)] | None = None,
  word_vectors: str | None = None,
  sent140_source: Literal['any', 'leaf', 'csv', 'jsonl'] = 'any',
) -> base.DataSet:
  """Returns the users' tweets, x int32 [n, 25], the places of words in a vocabulary, and y, 1 for a positive tweet.

  Args:
    data_dir: Folder with the data's files; without it $FEDPROX_DATA_DIR, then the cache, then a download.
    data_seed: Seed of the split over clients.
    num_clients: Number of users, drawn among those with enough tweets; 0 takes all, and without it there are 772, or
      all if they are fewer.
    min_tweets: Least number of tweets of a user.
    num_words: Most words in the vocabulary; without it 10,000, or all that have a vector.
    word_vectors: Name of a file of vectors of words in GloVe's text format, beside the tweets; without it the network
      learns vectors of its own.
    sent140_source: Layout of the files to read, where a folder has several.
  """

  def load(partition: None = None) -> base.FederatedDataset:
    del partition  # users are the clients
    vectors_path = None if word_vectors is None else _vectors_path(data_dir, word_vectors)
    everyone, path = sent140_files.read(data_dir, sent140_source, min_tweets)
    require(everyone, f'--min_tweets={min_tweets}: {path} has no user of so many tweets.')
    enough = f'--num_clients={num_clients}: {path} has {len(everyone)} users of --min_tweets={min_tweets} or more.'
    require(len(everyone) >= (num_clients or 0), enough)
    number = min(PAPER['sent140'].devices, len(everyone)) if num_clients is None else num_clients or len(everyone)
    drawn = np.sort(streams.generator('data', data_seed).choice(len(everyone), number, replace=False))
    pairs = [_split(everyone[place], streams.generator('data', data_seed, int(place) + 1)) for place in drawn]
    train, test, inputs = tweets.encode(
      [train for train, _ in pairs], [test for _, test in pairs], num_words=num_words, vectors_path=vectors_path
    )
    as_in_paper = number == PAPER['sent140'].devices and min_tweets == 31
    return base.FederatedDataset(
      name='sent140',
      client_ids=base.client_ids(number),
      train=base.split_from_clients(train),
      test=base.split_from_clients(test),
      num_classes=tweets.NUM_CLASSES,
      source=f'{path}, {number} of {len(everyone)} users with {min_tweets} tweets or more',
      paper=PAPER['sent140'] if as_in_paper else None,
      inputs=inputs,
    )

  # The learning rate is the paper's (appendix C.2).
  missing = sources.not_a_name('word_vectors', word_vectors)
  return base.DataSet(
    'sent140', 'Sent140', 0.3, load, num_clients=num_clients or None, model='lstm_sentiment', missing=missing
  )


def _vectors_path(data_dir: str | None, name: str) -> str:
  subfolders = (*sent140_files.SUBFOLDERS, 'glove')
  paths = sources.find(data_dir, subfolders, [name])
  require(paths, f'--word_vectors={name} {sources.nowhere(data_dir, subfolders)}')
  return paths[0]


def _split(user: sent140_files.User, rng: np.random.Generator) -> tuple[Examples, Examples]:
  """Returns a user's tweets for training, one at least, and for testing."""
  if user.test is not None:
    return user.train, user.test
  x, y = user.train
  in_train = np.zeros(len(y), bool)
  in_train[rng.permutation(len(y))[: int(0.8 * len(y))]] = True
  return Examples(x[in_train], y[in_train]), Examples(x[~in_train], y[~in_train])
