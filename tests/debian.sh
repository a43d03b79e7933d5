#!/bin/sh
# Install Debian packages whose command is missing. Arguments: COMMAND:PACKAGE ...
set -eu
missing=""
for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || [ -x "/usr/sbin/${pair%%:*}" ] || missing="$missing ${pair#*:}"
done
[ -n "$missing" ] || exit 0
echo "Installing Debian packages:$missing"
sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get -qq update
# Nothing is to be started by the install: the tests start what they need, and end it.
# shellcheck disable=SC2086
$sudo env RUNLEVEL=1 apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends $missing >/dev/null
