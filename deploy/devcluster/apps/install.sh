#!/bin/sh
# Install the apps that the dev cluster's profiles start: JupyterLab, Notebook, TensorBoard, code-server.
# Arguments: TARGET LOCK UV. Everybody can read the target, for jobs run as their users; a stamp says which locks it has.
#
# code-server is made for one version of Node and brings parts that are compiled here. What its own install script fetches
# from elsewhere (ripgrep) is Debian's instead, and its Kerberos binding, which only proxies need, is left out.
set -eu
target=$1
lock=$2
uv=$3
here=$(cd "$(dirname "$0")" && pwd)
stamp=$(cat "$0" "$lock" "$here/package-lock.json" | sha256sum | cut -d' ' -f1)
[ "$(cat "$target/stamp" 2>/dev/null)" != "$stamp" ] || exit 0

"$here/../../../tests/debian.sh" node:nodejs npm:npm g++:g++ rg:ripgrep
echo "Installing the apps of the dev cluster in $target (about three minutes, once)"
umask 022
rm -rf "$target"
mkdir -p "$target"

"$uv" venv --quiet --no-config --python /usr/bin/python3 "$target/python"
UV_LINK_MODE=copy UV_NO_CONFIG=1 "$uv" pip sync --quiet --require-hashes --python "$target/python/bin/python" "$lock"

mkdir "$target/node"
cp "$here/package.json" "$here/package-lock.json" "$target/node/"
cd "$target/node"
[ ! -d /usr/include/node ] || export npm_config_nodedir=/usr
npm ci --ignore-scripts --silent --no-fund --no-audit
export npm_config_build_from_source=true
npm rebuild --silent argon2
cd node_modules/code-server/lib/vscode
npm install --ignore-scripts --omit=dev --legacy-peer-deps --silent --no-fund --no-audit
npm rebuild --silent @vscode/spdlog native-watchdog node-pty
mkdir -p node_modules/@vscode/ripgrep/bin
ln -sf "$(command -v rg)" node_modules/@vscode/ripgrep/bin/rg
ln -sfn node_modules node_modules.asar

mkdir -p "$target/bin"
for program in jupyter tensorboard; do
    ln -s "$target/python/bin/$program" "$target/bin/$program"
done
printf '#!/bin/sh\nexec node %s/node/node_modules/code-server/out/node/entry.js "$@"\n' "$target" > "$target/bin/code-server"
chmod 755 "$target/bin/code-server"
echo "$stamp" > "$target/stamp"
