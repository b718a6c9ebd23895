# What the distribution has to provide, and how it is installed. Sourced by the launcher.
# shellcheck shell=bash

# The one table of distributions. A new one is a new row; `@file` stands for the names in that file.
#   id | versions it was tested on | manager | to run | to build | Python | lab | tests | a lab's extras
distributions='
debian | 12 13 | apt | ca-certificates openssh-client libvirt0 | gcc libc6-dev pkg-config libvirt-dev | python3 python3-venv python3-dev | @lab/packages.txt | postgresql chromium openssh-server | @lab/packages-extras.txt
ubuntu |       | apt | ca-certificates openssh-client libvirt0 | gcc libc6-dev pkg-config libvirt-dev | python3 python3-venv python3-dev | @lab/packages.txt | postgresql chromium-browser openssh-server | @lab/packages-extras.txt debian-archive-keyring
fedora |       | dnf | ca-certificates openssh-clients libvirt-libs | gcc pkgconf-pkg-config libvirt-devel | python3 python3-devel | libvirt-daemon-driver-qemu libvirt-client qemu-system-x86-core qemu-img dnsmasq nftables iptables-nft iproute iputils procps-ng busybox kmod cpio lz4 bindfs | postgresql-server chromium openssh-server | mmdebstrap openssl
'

# distribution_row: the row of this system, or of the one it descends from.
distribution_row() {
  local wanted row
  for wanted in $(. "${GUESTHOUSE_OS_RELEASE:-/etc/os-release}" 2>/dev/null && echo "${ID:-} ${ID_LIKE:-}"); do
    while IFS= read -r row; do
      [ "${row%% *}" = "$wanted" ] && { printf '%s\n' "$row"; return 0; }
    done <<<"$distributions"
  done
  return 1
}

# column NUMBER: one field of this system's row, with files read in (comments left out).
column() {
  local fields word line
  IFS='|' read -ra fields <<<"$(distribution_row)"
  for word in ${fields[$1 - 1]}; do
    [[ $word == @* ]] || { printf '%s\n' "$word"; continue; }
    while read -r line _; do
      [[ -z $line || $line == '#'* ]] || printf '%s\n' "$line"
    done <"$home/${word#@}"
  done
}

# packages_of GROUP…: the packages of these groups.
packages_of() {
  local group
  for group; do
    case $group in run) column 4 ;; build) column 5 ;; python) column 6 ;; lab) column 7 ;; test) column 8 ;; extras) column 9 ;; esac
  done
}

# tested_here: whether this very system and version was tested.
tested_here() {
  local id version
  id=$(. "${GUESTHOUSE_OS_RELEASE:-/etc/os-release}" 2>/dev/null && echo "${ID:-}")
  version=$(. "${GUESTHOUSE_OS_RELEASE:-/etc/os-release}" 2>/dev/null && echo "${VERSION_ID:-}")
  local row; row=$(distribution_row) || return 1
  [ "${row%% *}" = "$id" ] && [[ " $(column 2 | tr '\n' ' ')" == *" $version "* ]]
}

system_name() { (. "${GUESTHOUSE_OS_RELEASE:-/etc/os-release}" 2>/dev/null && echo "${PRETTY_NAME:-${ID:-}}") || echo "this system"; }

# missing PACKAGE…: those that are not installed completely. `name?` counts only where the distribution has it.
missing() {
  [ $# -gt 0 ] || return 0
  local name installed
  case $(column 3) in
    apt) installed=" $(dpkg-query -W -f '${db:Status-Status}:${Package} ' "${@%\?}" 2>/dev/null || true)"
         for name; do
           [[ $installed == *" installed:${name%\?} "* ]] || { [[ $name == *\? ]] && ! offered "${name%\?}"; } ||
             printf '%s\n' "${name%\?}"
         done ;;
    dnf) for name; do rpm -q --whatprovides "$name" >/dev/null 2>&1 || printf '%s\n' "$name"; done ;;
  esac
}

# offered PACKAGE: whether apt's lists, as they are, have it. A no is remembered, since asking takes half a second.
offered() {
  local answer note; note="$(system_name) has no $1"
  grep -qxsF "$note" "$work/not-offered" && return 1
  answer=$(apt-cache madison "$1" apt 2>/dev/null || true)
  [[ $answer == *" $1 | "* || $answer == "$1 | "* ]] && return 0
  if [[ $answer == *"apt | "* ]]; then
    mkdir -p "$work" 2>/dev/null && printf '%s\n' "$note" 2>/dev/null >>"$work/not-offered" || true
  fi
  return 1
}

# install_command PACKAGE…: the one command that installs them, for root's shell.
install_command() {
  local quiet=
  # The tests start an SSH server where they need one; this machine's own must not open a port because of them.
  # Debian's package looks for this file before it starts its service.
  [[ " $* " != *" openssh-server "* ]] || quiet="mkdir -p /etc/ssh && touch /etc/ssh/sshd_not_to_be_run; "
  case $(column 3) in
    # A package half set up by an earlier, interrupted run is finished first.
    apt) printf '%s' "${quiet}export DEBIAN_FRONTEND=noninteractive; dpkg --configure -a && apt-get -q update;" \
           " apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $*" ;;
    dnf) printf '%s' "dnf install -y --setopt=install_weak_deps=False $*" ;;
  esac
}

# provide GROUP…: installs what is missing of these groups, or says how and stops.
provide() {
  local absent as_root=()
  if ! distribution_row >/dev/null; then
    say "$(system_name) is not known to this launcher and was not tested; it needs what lies under 'debian' in scripts/prerequisites.sh."
    return 0
  fi
  absent=$(missing_of "$@" | tr '\n' ' ')
  [ -n "$absent" ] || return 0
  tested_here || say "$(system_name) is not tested; its packages are a guess."
  if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
      as_root=(sudo)
    else
      fail "packages are missing. Run this as root, then start again:
  sh -c '$(install_command "$absent")'"
    fi
  fi
  install_packages "$absent"
  # On a bare system only now is it known which of the optional ones there are.
  absent=$(missing_of "$@" | tr '\n' ' ')
  [ -z "$absent" ] || install_packages "$absent"
}

install_packages() {
  say "Installing $(wc -w <<<"$1") packages of $(system_name): ${1% }"
  [[ " $1 " != *" openssh-server "* ]] ||
    say "The SSH server is for the tests; as a service it is told not to run (/etc/ssh/sshd_not_to_be_run)."
  run ${as_root[@]+"${as_root[@]}"} sh -c "$(install_command "$1")" || fail "$(reason "The packages could not be installed")"
}

# usable_python FILE: at least 3.11, able to make an environment and to build an extension.
usable_python() {
  "$1" -c 'import sys, sysconfig, os, venv, ensurepip
sys.exit(sys.version_info < (3, 11) or not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' 2>/dev/null
}

# find_python: sets python, or fails quietly.
find_python() {
  local name
  for name in python3 python3.11 python3.12 python3.13 python3.14; do
    python=$(command -v "$name") && usable_python "$python" && return 0
  done
  return 1
}

# require_python: sets python, or says that there is none that will do.
require_python() {
  find_python || fail "Python 3.11 or newer with venv and its headers is needed, and $(system_name) has none;\
 install it and start again."
}
