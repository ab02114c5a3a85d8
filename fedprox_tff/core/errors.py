# SPDX-License-Identifier: Apache-2.0
"""Errors whose message is one line for the user, to be shown without a traceback."""


class UserError(Exception):
  """Something that the user can mend; the message says what came and what is allowed. Exit code 2."""


class DataError(UserError):
  """The data asked for cannot be had."""


class RunFailedError(Exception):
  """Something outside the program failed, such as TFF's worker. Exit code 1."""
