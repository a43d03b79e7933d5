#!/bin/sh
# Install the apps of the development cluster's profiles: JupyterLab, Notebook, TensorBoard, code-server.
# Arguments: TARGET LOCK UV. The target is world-readable, because jobs run as their users. Its two parts (Python and Node)
# each have a stamp with the hash of their lock, and are reinstalled separately.
#
# code-server needs a certain version of Node, and some of its parts are compiled here. ripgrep, which its install script
# would download, comes from Debian. Its Kerberos binding, which only proxies need, is left out.
set -eu
target=$1
lock=$2
uv=$3
here=$(cd "$(dirname "$0")" && pwd)
umask 022
mkdir -p "$target/bin"

made_from() { cat "$@" | sha256sum | cut -d' ' -f1; }
up_to_date() { [ "$(cat "$target/$1.stamp" 2>/dev/null)" = "$2" ]; }

python=$(made_from "$lock")
if ! up_to_date python "$python"; then
    echo "Installing the dev cluster's apps in Python in $target"
    [ -x "$target/python/bin/python" ] || "$uv" venv --quiet --no-config --python /usr/bin/python3 "$target/python"
    UV_LINK_MODE=copy UV_NO_CONFIG=1 "$uv" pip sync --quiet --require-hashes --python "$target/python/bin/python" "$lock"
    for program in jupyter jupyterhub-singleuser jupyterhub-idle-culler tensorboard; do
        ln -sfn "$target/python/bin/$program" "$target/bin/$program"
    done
    echo "$python" > "$target/python.stamp"
fi

node=$(made_from "$0" "$here/package.json" "$here/package-lock.json")
up_to_date node "$node" && exit 0
"$here/../../../tests/debian.sh" node:nodejs npm:npm g++:g++ rg:ripgrep
echo "Installing the dev cluster's code-server in $target (about three minutes, once)"
rm -rf "$target/node"
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
printf '#!/bin/sh\nexec node %s/node/node_modules/code-server/out/node/entry.js "$@"\n' "$target" > "$target/bin/code-server"
chmod 755 "$target/bin/code-server"
echo "$node" > "$target/node.stamp"
