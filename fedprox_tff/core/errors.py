# SPDX-License-Identifier: Apache-2.0
"""Errors whose message is one line for the user, to be shown without a traceback."""


class UserError(Exception):
  """Something that the user can mend; the message says what came and what is allowed. Exit code 2."""


class LockedError(UserError):
  """Another process is at work there."""


class DataError(UserError):
  """The data asked for cannot be had."""


class RunFailedError(Exception):
  """Something outside the program failed, such as TFF's worker. Exit code 1."""


class DamagedError(Exception):
  """A file is missing, or is not as it was written. Whoever reads it decides what that means for the user."""


def line_of(error: BaseException) -> str:
  """Returns what went wrong in one line; of an `OSError` the file and the reason, without its number."""
  if isinstance(error, OSError) and error.strerror:
    return f'{error.filename}: {error.strerror}' if error.filename else error.strerror
  return ' '.join(str(error).split()) or type(error).__name__
