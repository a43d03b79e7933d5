#!/bin/sh
# Install Debian packages whose command is missing. Arguments: COMMAND:PACKAGE ...; a COMMAND that begins with / is a
# file, and may be a pattern.
set -eu

there() {
    case $1 in
    /*) for file in $1; do [ ! -e "$file" ] || return 0; done; return 1 ;;
    *) command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] ;;
    esac
}

missing=""
for pair in "$@"; do
    there "${pair%%:*}" || missing="$missing ${pair#*:}"
done
[ -n "$missing" ] || exit 0
echo "Installing Debian packages:$missing"
sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get -qq update
# Nothing is to be started by the install: who needs a daemon starts its own, and ends it. RUNLEVEL says so to
# invoke-rc.d, the policy to systemd's helpers.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap '$sudo rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod 755 "$policy"
fi
# shellcheck disable=SC2086
said=$($sudo env RUNLEVEL=1 apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends $missing 2>&1) || {
    printf '%s\n' "$said" >&2
    exit 1
}
