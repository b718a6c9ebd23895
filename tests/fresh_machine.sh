#!/usr/bin/env bash
# The honest set-up test: both commands of the README on bare Debian roots. Run by hand, as root; needs mmdebstrap.
#   tests/fresh_machine.sh [demo|test|both] [bookworm] [trixie]
# Each root is made anew, holds what `git archive` of the last commit holds, and is removed at the end. It has mount and
# process namespaces of its own and the machine's network.
set -euo pipefail

home=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
what=both
case ${1:-} in demo | test | both) what=$1; shift ;; esac
suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=(bookworm trixie)
port=${GUESTHOUSE_FRESH_PORT:-8000}
[ "$(id -u)" = 0 ] || { echo "This needs root." >&2; exit 2; }
command -v mmdebstrap >/dev/null || { echo "This needs mmdebstrap: apt-get install mmdebstrap" >&2; exit 2; }

root=
trap '[ -z "$root" ] || rm -rf --one-file-system -- "$root"' EXIT

make_root() {
  root=$(mktemp -d "${TMPDIR:-/tmp}/fresh-$1.XXXXXX")
  mmdebstrap --quiet --variant=minbase --include=ca-certificates "$1" "$root"
  if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then  # a machine behind its own authority
    mkdir -p "$root/usr/local/share/ca-certificates"
    cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/"
    chroot "$root" update-ca-certificates >/dev/null 2>&1
  fi
  cp -L /etc/resolv.conf "$root/etc/resolv.conf"
  mkdir -p "$root/src"
  git -C "$home" archive HEAD | tar -x -C "$root/src"
}

# What a machine behind a proxy or a package mirror is told by its environment.
passed_on() { env | grep -E '^(PIP_(CERT|INDEX_URL|DEFAULT_TIMEOUT)|SSL_CERT_FILE|UV_[A-Z_]+|[a-zA-Z]+_proxy|[A-Z]+_PROXY)=' || true; }

# in_root SCRIPT: runs it in the root; whatever it leaves running ends with the process namespace.
in_root() {
  local settings; mapfile -t settings < <(passed_on)
  unshare --mount --pid --fork --kill-child bash -c '
    root=$1; shift
    mount --make-rprivate /
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"; mount --rbind /sys "$root/sys"; mount --rbind /dev "$root/dev"
    mount -t tmpfs run "$root/run"; mount -t tmpfs tmp "$root/tmp"
    exec chroot "$root" env -i "$@"' _ "$root" \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 PORT="$port" \
    ${settings[@]+"${settings[@]}"} bash -c "cd /src; $1
exit \$?"  # so that bash stays: the first process has to reap what others left, as an init does
}

# shellcheck disable=SC2016  # expanded in the root
try_demo='
set -euo pipefail
fetch() { .venv/bin/python -c "import sys, urllib.request as u
print(u.urlopen(u.Request(sys.argv[1], headers=dict([a.split(\"=\", 1) for a in sys.argv[2:]])), timeout=5).read().decode())" "$@" 2>/dev/null; }
count() { fetch "http://127.0.0.1:$PORT/api/v1/$1/" "Authorization=Bearer $token" | .venv/bin/python -c "import json, sys
print(sum(o[\"state\"] == \"running\" or sys.argv[1] != \"guests\" for o in json.load(sys.stdin)[\"results\"]))" "$1" 2>/dev/null || echo 0; }
others() { for p in /proc/[0-9]*; do p=${p#/proc/}; [ "$p" = 1 ] || [ "$p" = $$ ] || [ "$p" = "$BASHPID" ] || tr "\0" " " 2>/dev/null <"/proc/$p/cmdline" | grep -v "^$" || true; done; }
start=$SECONDS
./guesthouse demo --port "$PORT" & launcher=$!
until fetch "http://127.0.0.1:$PORT/healthz" >/dev/null; do kill -0 $launcher; sleep 1; done
served=$SECONDS; echo "healthz after $((served - start)) s"
token=$(./guesthouse manage create_token admin); token=${token##* }
until [ "$(count hosts)" -ge 3 ] && [ "$(count guests)" -ge 4 ] && [ "$(count datastores)" -ge 3 ] && [ "$(count switches)" -ge 3 ]; do
  kill -0 $launcher; [ $((SECONDS - served)) -lt 120 ] || { echo "no inventory within 2 minutes" >&2; exit 1; }; sleep 1
done
echo "inventory $((SECONDS - served)) s later: $(count hosts) hosts, $(count guests) running guests, $(count datastores) datastores, $(count switches) switches"
kill -TERM $launcher; stopping=$SECONDS; wait $launcher; echo "stopped in $((SECONDS - stopping)) s"
left=$(others); [ -z "$left" ] || { echo "left running: $left" >&2; exit 1; }
again=$SECONDS
./guesthouse demo --port "$PORT" & launcher=$!
until fetch "http://127.0.0.1:$PORT/healthz" >/dev/null; do kill -0 $launcher; sleep 0.2; done
echo "second start: healthz after $((SECONDS - again)) s"
kill -TERM $launcher; wait $launcher
left=$(others); [ -z "$left" ] || { echo "left running: $left" >&2; exit 1; }
echo "no process left"
'

for suite in "${suites[@]}"; do
  echo "=== $suite, $(date -u +%F)"
  make_root "$suite"
  [ "$what" = test ] || in_root "$try_demo"
  [ "$what" = demo ] || in_root './guesthouse test'
  rm -rf --one-file-system -- "$root"
  root=
done
