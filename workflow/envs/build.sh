#!/usr/bin/env bash
# Build .venv from requirements.lock: with uv where it is there or pip can install it, else with venv and pip.
# Usage: workflow/envs/build.sh [python]
set -euo pipefail
python=${1:-python3}
lock=requirements.lock

if ! command -v "$python" >/dev/null; then
  echo "error: no '$python' on the PATH. Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.11" >&2
  exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "error: $("$python" --version) is too old: Python 3.11 or newer is needed." \
    "Name one: make PYTHON=/path/to/python3.11" >&2
  exit 1
fi

rm -rf .venv
if ! "$python" -m venv .venv >&2; then
  rm -rf .venv
  echo "error: '$python -m venv' does not work here; on Debian and Ubuntu: apt-get install python3-venv" >&2
  exit 1
fi

uv=$(command -v uv || true)
if [ -z "$uv" ] && .venv/bin/python -m pip install --quiet --disable-pip-version-check 'uv==0.13.9'; then
  uv=.venv/bin/uv
fi
# The package itself comes last and brings nothing with it: the lock holds all that it needs.
if [ -n "$uv" ]; then
  "$uv" pip install --python .venv/bin/python --require-hashes -r "$lock"
  "$uv" pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
else
  echo "uv cannot be installed: taking pip, which is slower"
  .venv/bin/python -m pip install --disable-pip-version-check --require-hashes -r "$lock"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
fi
