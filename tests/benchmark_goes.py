# SPDX-License-Identifier: Apache-2.0
"""Runs benchmarks one after another in one process, so that TensorFlow is imported once.

python -m tests.benchmark_goes GOES.json RESULTS.json: GOES has the command line of each, and RESULTS what each has
printed and how it failed, null if it did not.
"""

import contextlib
import importlib
import io
import json
import pathlib
import sys
import time
import traceback


def go(module: str, *flags: str) -> dict[str, object]:
  """Runs one."""
  output, problem, start = io.StringIO(), None, time.process_time()
  sys.argv = [module, *flags]
  with contextlib.redirect_stdout(output):
    try:
      importlib.import_module(f'benchmarks.{module}').main()
    except (Exception, SystemExit):
      problem = traceback.format_exc()
  return {'output': output.getvalue(), 'problem': problem, 'seconds': time.process_time() - start}


if __name__ == '__main__':
  goes, results = map(pathlib.Path, sys.argv[1:])
  results.write_text(json.dumps([go(*command) for command in json.loads(goes.read_text())]))
