# The Python environment: built aside from hash-locked requirements, then given its name. Sourced by the launcher.
# shellcheck shell=bash

staged=

# run COMMAND…: into the log, and ended at once when we are told to stop.
child=
run() {
  # Without the lock's descriptor: a service that a package starts would hold it for ever.
  "$@" >>"$log" 2>&1 </dev/null 9>&- &
  child=$!
  local code=0
  wait "$child" || code=$?
  child=
  return "$code"
}

stop_setup() {
  trap '' INT TERM HUP
  if [ -n "$child" ]; then
    kill -TERM "$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
  fi
  say "guesthouse: stopped while setting up; the next start goes on."
  exit "$1"
}

clean_up() { [ -z "$staged" ] || rm -rf -- "$staged"; }

# reason SENTENCE: the same with its likeliest cause, read from the end of the log.
reason() {
  local tail; tail=$(tail -n 60 "$log" 2>/dev/null || true)
  case $tail in
    *"No space left on device"* | *"not have enough free space"* | *"os error 28"*)
      echo "$1: the disk is full. Free some space and start again." ;;
    *"DO NOT MATCH THE HASHES"* | *"Hash mismatch"*)
      echo "$1: a download does not have its locked checksum, so it was refused. See $log." ;;
    *"Could not resolve"* | *"Temporary failure"* | *"dns error"* | *"error sending request"* | *"Failed to fetch"* | \
    *"Connection refused"* | *"Network is unreachable"* | *"imed out"* | *"No matching distribution"*)
      echo "$1: the package servers cannot be reached. Check the network or the proxy and start again; see $log." ;;
    *) echo "$1; see $log." ;;
  esac
}

# fingerprint KIND: of the lock files that make an environment of this kind.
fingerprint() {
  local files=("$home"/requirements/{app,build}.txt)
  [ "$1" = app ] || files+=("$home/requirements/dev.txt")
  cat "${files[@]}" | sha256sum | cut -d' ' -f1
}

stamp_line() { printf '%s %s %s' "$1" "$(fingerprint "$1")" "$2"; }

# ready KIND: whether the environment is complete, of this lock and still has its interpreter.
ready() {
  local version line
  [ -f "$venv/guesthouse.stamp" ] || return 1
  version=$("$venv/bin/python" -c 'import platform; print(platform.python_version())' 2>/dev/null) || return 1
  line=$(stamp_line "$1" "$version")
  grep -qxF "$line" "$venv/guesthouse.stamp"
}

# set_up KIND GROUP…: the packages of the groups and an environment of KIND (app or dev), made only where missing.
set_up() {
  local kind=$1; shift
  if ready "$kind" && [ -z "$(missing_of "$@")" ]; then return 0; fi
  prepare_work
  trap 'stop_setup 130' INT
  trap 'stop_setup 143' TERM HUP
  trap clean_up EXIT
  take_turn
  : >"$log" || fail "the disk that holds $home is full or read-only; free some space and start again."
  # An environment that tests were run in stays one, also when only the console is started.
  [ ! -e "$venv/bin/pytest" ] || kind=dev
  if ready "$kind"; then
    provide "$@"
  else
    find_python || set -- "$@" python
    provide "$@" build
    build "$kind"
  fi
  trap - INT TERM HUP EXIT
  exec 9>&-
}

# take_turn: one start sets up, the others wait for it.
take_turn() {
  exec 9>"$work/setup.lock"
  flock -n 9 && return 0
  say "Another start is setting up; waiting for it."
  flock 9 &
  child=$!
  wait "$child" || fail "the other start did not end; start again."
  child=
}

missing_of() {
  distribution_row >/dev/null || return 0
  # shellcheck disable=SC2046  # one word per package is meant
  missing $(packages_of "$@")
}

prepare_work() {
  mkdir -p "$work" 2>/dev/null || fail "$home cannot be written by this user; run this as its owner."
  [ -w "$work" ] || fail "$work cannot be written by this user; run this as its owner."
  command -v flock >/dev/null || fail "the program 'flock' (package util-linux) is missing; install it and start again."
}

# build KIND: a new environment beside the old one, which is replaced only by a complete one.
build() {
  local kind=$1 free
  free=$(df -Pk "$work" | tail -n 1 | (read -r _ _ _ kib _; echo "$kib"))
  [ "$free" -ge 1000000 ] || fail "the disk that holds $home has less than 1 GB free; free some space and start again."
  require_python
  rm -rf -- "$venv".new.* "$venv".old.*
  staged=$venv.new.$$
  say "Making the Python environment (once; some minutes on a small machine)."
  bootstrap
  install_locked "$kind"
  stamp "$kind"
  put_in_place
}

# bootstrap: a small environment that holds only the installer.
bootstrap() {
  local boot=$work/bootstrap
  boot_stamp="$("$python" -c 'import platform; print(platform.python_version())') $(sha256sum <"$home/requirements/bootstrap.txt")"
  uv=$boot/bin/uv
  if [ "$(cat "$boot/stamp" 2>/dev/null)" != "$boot_stamp" ] || ! "$uv" --version >/dev/null 2>&1; then
    rm -rf -- "$boot"
    run "$python" -m venv "$boot" || fail "$(reason "The installer's environment could not be made")"
    run "$boot/bin/python" -m pip install -q --disable-pip-version-check --require-hashes --only-binary :all: \
      -r "$home/requirements/bootstrap.txt" || fail "$(reason "The installer could not be fetched")"
    printf '%s\n' "$boot_stamp" >"$boot/stamp"
  fi
  adopt_pip_settings "$boot/bin/python"
}

# adopt_pip_settings PYTHON: where pip was told of other package servers, uv hears of them, too.
adopt_pip_settings() {
  local line
  while IFS= read -r line; do
    [ -n "$line" ] && export "${line?}"
  done < <("$1" "$home/scripts/pip_settings.py")
  export UV_CACHE_DIR=${UV_CACHE_DIR:-$work/uv} UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1
}

install_locked() {
  run "$uv" venv --quiet --relocatable --python "$python" "$staged" || fail "$(reason "The environment could not be made")"
  run "$uv" pip install --python "$staged/bin/python" --require-hashes --compile-bytecode \
    --build-constraints "$home/requirements/build.txt" -r "$home/requirements/$1.txt" \
    || fail "$(reason "The locked Python packages could not be installed")"
}

# stamp KIND: written last, so that only a complete environment has one.
stamp() {
  local version kind
  version=$("$staged/bin/python" -c 'import platform; print(platform.python_version())')
  for kind in app $([ "$1" = app ] || echo "$1"); do
    printf '%s\n' "$(stamp_line "$kind" "$version")"
  done >"$staged/guesthouse.stamp"
}

put_in_place() {
  [ ! -e "$venv" ] || mv -T -- "$venv" "$venv.old.$$"
  mv -T -- "$staged" "$venv"
  staged=
  rm -rf -- "$venv.old.$$"
}
