#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes .venv hold what requirements.txt and requirements-dev.txt say, unless it does already. The Makefile calls this
# before run, test and the like; it says nothing and needs no network when there is nothing to do.
# `setup.sh ray` also adds an extra, what requirements-ray.txt says. From then on it is kept up to date with the rest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly VENV=.venv
readonly LOG=$VENV/pip.log
readonly STAMP=$VENV/.installed # only there after an installation that went well, and as old as its beginning
readonly EXTRA=${1:-}           # its stamp is $STAMP-$EXTRA

# Settings of the caller that would let other packages in, or send ours elsewhere.
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV PIP_TARGET PIP_PREFIX PIP_ROOT PIP_REQUIREMENT PIP_CONSTRAINT
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf 'setup: %s\n' "$*"; }
refuse() { say "$@" >&2; exit 1; }

is_current() {
  [[ -f $STAMP && -x $VENV/bin/python && ! requirements.txt -nt $STAMP && ! requirements-dev.txt -nt $STAMP ]]
}

# Lists the extras that .venv has, and those of them that the locks have overtaken.
find_extras() {
  local stamp extra
  extras=() overtaken=()
  for stamp in "$STAMP"-*; do
    extra=${stamp#"$STAMP"-}
    [[ -f requirements-$extra.txt ]] || continue
    extras+=("$extra")
    [[ ! requirements-$extra.txt -nt $stamp ]] || overtaken+=("$extra")
  done
}

check_machine() {
  local machine glibc
  machine=$(uname -sm)
  [[ $machine == 'Linux x86_64' ]] ||
    refuse "this is $machine, and TensorFlow Federated is built for Linux x86_64 only: use such a machine or container."
  glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null) ||
    refuse 'no glibc here, which TensorFlow Federated needs (2.31 or newer): use Debian 11, Ubuntu 20.04 or newer.'
  [[ $(printf '%s\n' 'glibc 2.31' "$glibc" | sort -V | head -n 1) == 'glibc 2.31' ]] ||
    refuse "$glibc is too old for TensorFlow Federated, which needs 2.31: use Debian 11, Ubuntu 20.04 or newer."
}

# Prints the first Python 3.11 that proves to be one, for pyenv's shims may stand for nothing, or else uv.
find_python() {
  local python without_venv=
  while IFS= read -r python; do
    "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1 </dev/null || continue
    if "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 </dev/null; then
      echo "$python"
      return
    fi
    without_venv=$python
  done < <(type -aP python3.11 python3)
  type -P uv && return
  [[ -z $without_venv ]] ||
    refuse "$without_venv has no module venv: \"apt install python3.11-venv\", or install uv, which does without."
  refuse 'no Python 3.11 found (TensorFlow Federated allows no newer one): "apt install python3.11 python3.11-venv",' \
    'or "pyenv install 3.11 && pyenv global 3.11", or install uv, which fetches it.'
}

make_venv() {
  rm -rf "$VENV"
  case $1 in
    */uv) uv venv --quiet --no-project --python 3.11 --seed "$VENV" ;;
    *) "$1" -m venv "$VENV" ;;
  esac || refuse "$1 could not make $VENV, see above; a Python of \"apt install python3.11 python3.11-venv\" or pyenv may."
}

# Says in one line, again and again, what pip is at; leaves the cursor at its start, for the line to be written over.
show_progress() {
  while sleep 0.5 && kill -0 $$; do
    printf '\e[K%4d s  %.90s\r' "$SECONDS" "$(grep -oE '(Downloading|Installing) .*' "$LOG" | tail -n 1)"
  done 2>/dev/null
}

# Installs locks. What pip says of this many packages is hundreds of lines: they go to a file, and only errors on.
install_locks() (
  arguments=()
  for lock; do arguments+=(-r "${lock%.txt}.txt"); done
  if [[ -t 1 ]]; then
    show_progress 9>&- &
    # shellcheck disable=SC2064 # $! is meant as it is now
    trap "kill $! 2>/dev/null; printf '\e[K'" EXIT
  fi
  # --no-deps: the locks are complete, and pip would refuse what requirements-override.txt overrides.
  PYTHONUNBUFFERED=1 "$VENV/bin/python" -m pip install --progress-bar=off --no-input --no-color \
    --no-deps --require-hashes --only-binary=:all: "${arguments[@]}" >"$LOG" 2>&1 && return
  [[ ! -t 1 ]] || printf '\e[K'
  is_offline || grep -E '^ERROR' "$LOG" >&2 || tail -n 5 "$LOG" >&2
  return 1
)

# Then pip blames a package, which would mislead.
is_offline() { grep -q 'Retry(total=0' "$LOG"; }

# Says what became of an installation that failed: how much was done, and what holds for .venv now.
fail() {
  refuse "$1$(! is_offline || echo ': the index of packages does not answer') (all that pip said: $LOG); $2."
}

install() {
  local python extra
  # A sound .venv that the locks have overtaken is brought up to date in place: quicker, and what was added to it stays.
  # One that is broken or half-made starts anew, with the same extras.
  if [[ -f $STAMP && -x $VENV/bin/python ]]; then
    say "bringing $VENV up to date with the locks ..."
  else
    python=$(find_python)
    say "installing $(cat requirements.txt requirements-dev.txt | grep -c ==) packages into $VENV with $python" \
      '(0.8 GB to fetch, 2.8 GB on disk, 1 to 5 minutes) ...'
    make_venv "$python"
    for extra in "${extras[@]}"; do touch -d @0 "$STAMP-$extra"; done
  fi
  rm -f "$STAMP"
  touch "$VENV/.installing"
  install_locks requirements.txt requirements-dev.txt "${extras[@]/#/requirements-}" ||
    fail 'not finished' 'the next call starts again'
  for extra in "${extras[@]}"; do touch -r "$VENV/.installing" "$STAMP-$extra"; done
  mv "$VENV/.installing" "$STAMP"
  say "done in $SECONDS s."
}

# A failure here leaves .venv as good as it was.
install_extra() {
  local lock=requirements-$1.txt
  [[ ! $lock -nt $STAMP-$1 ]] || say "installing the $(grep -c == "$lock") packages of $lock into $VENV ..."
  touch "$VENV/.installing"
  install_locks "$lock" || fail "$1 is not installed" "the rest of $VENV is as it was"
  mv "$VENV/.installing" "$STAMP-$1"
  if grep -q '^Successfully installed' "$LOG"; then
    say "done in $SECONDS s."
  else
    say "nothing to do: $VENV has what $lock says."
  fi
}

find_extras
[[ -z $EXTRA ]] && is_current && ((${#overtaken[@]} == 0)) && exit
[[ -z $EXTRA || -f requirements-$EXTRA.txt ]] || refuse "no extra is called $EXTRA: there is no requirements-$EXTRA.txt."
check_machine
# Two calls at a time must not both install. This file is the lock; it is opened for appending since NFS wants that.
exec 9>>"scripts/${BASH_SOURCE[0]##*/}"
if ! flock --nonblock 9; then
  say 'another installation is at work here; waiting for it ...'
  flock 9
fi
find_extras # again: another call may have been at work
is_current || { install; find_extras; }
for extra in "${overtaken[@]}"; do
  [[ $extra == "$EXTRA" ]] || install_extra "$extra"
done
# An extra that is asked for by name is looked after even if its stamp is there: pip may have removed it since.
[[ -z $EXTRA ]] || install_extra "$EXTRA"
