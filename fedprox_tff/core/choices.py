# SPDX-License-Identifier: Apache-2.0
"""Choosing by name: a table of factories, and the parameters that each one's signature says.

A federated optimizer, a data set, a partition, a model and an optimizer are chosen in the same way: by the name of a
factory, a function whose parameters are keyword-only and whose result is a small record. The parameters are flags on
the command line. What is allowed stands in the annotation:

    float, int                      a number of at least 0
    Annotated[float, (low, high)]   a number in that range; high may be None
    Literal['a', 'b']               one of a few values
    bool                            true or false
    str                             text
    T | None                        the same, and None means that the run does not say
    Annotated[R, OneOf(table)]      another choice: the name of a factory of `table`, whose parameters are flags too
    Annotated[float | R, OneOf(table)]   a number of at least 0, or such a name

The first sentence that a docstring's "Args:" has on a parameter is the help of its flag.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

Factory = Callable[..., Any]

Share = Annotated[float, (0, 1)]  # a number from 0 to 1


class OneOf(NamedTuple):
  """In a parameter's annotation: the value is what one of these factories returns.

  A default value is a record with a `name` that is a key of the table, or a number where numbers are allowed too.
  """

  table: Mapping[str, Factory]


def choices_of(namespace: Mapping[str, Any], package: str) -> dict[str, Factory]:
  """Returns the factories that a package's `__init__` has imported: each the function that its module is named after.

  They are in the order of their names, whatever the order of the imports.

  Args:
    namespace: The variables of the `__init__`, `vars()`.
    package: Its name, such as 'fedprox_tff.algorithms'.
  """
  return {
    name: value
    for name, value in sorted(namespace.items())
    if inspect.isfunction(value) and value.__module__ == f'{package}.{name}' and value.__name__ == name
  }
