#!/usr/bin/env bash
# Build .venv from requirements.lock: with uv where it is there or pip can install it, else with venv and pip.
# Usage: workflow/envs/build.sh [python]
set -euo pipefail
lock=requirements.lock

will_do() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

python=${1:-}
if [ -n "$python" ]; then
  will_do "$python" || { echo "error: '$python' is not a Python 3.11 or newer" >&2; exit 1; }
else
  for python in python3 python3.14 python3.13 python3.12 python3.11 ""; do
    if [ -n "$python" ] && will_do "$python"; then break; fi
  done
  if [ -z "$python" ]; then
    echo "error: no Python 3.11 or newer on the PATH. Install one, or name it: make PYTHON=/path/to/python3.11" >&2
    exit 1
  fi
fi

rm -rf .venv
if uv=$(command -v uv); then
  "$uv" venv --quiet --python "$(command -v "$python")" .venv
else
  if ! "$python" -m venv .venv >&2; then
    rm -rf .venv
    echo "error: '$python -m venv' does not work here; on Debian and Ubuntu: apt-get install python3-venv" >&2
    exit 1
  fi
  # uv is locked like the rest.
  only_uv=$(mktemp)
  awk '/^uv==/ { found = 1 } found { print } found && !/\\$/ { exit }' "$lock" > "$only_uv"
  if .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r "$only_uv"; then
    uv=.venv/bin/uv
  fi
  rm -f "$only_uv"
fi

# The package itself comes last and brings nothing with it: the lock holds all that it needs.
if [ -n "$uv" ]; then
  # Compiled once, here: each of the pipeline's jobs would compile what it imports where Python may not write.
  "$uv" pip install --compile-bytecode --python .venv/bin/python --require-hashes -r "$lock"
  "$uv" pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
else
  echo "uv cannot be installed: taking pip, which is slower"
  .venv/bin/python -m pip install --disable-pip-version-check --require-hashes -r "$lock"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
fi
