# The one door. `make run` and `make test` need Debian 12 with git, make and Python 3.11; they fetch the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.PHONY: help run test test-slurm-versions check fix bench cluster cluster-down lock clean debian-run debian-test debian-slurm

# The distribution's own interpreter comes first: jobs run as other users, who must be able to read it.
PYTHON ?= $(firstword $(foreach p,/usr/bin/python3.11 /usr/bin/python3 python3.11 python3,$(shell command -v $(p))))
UV := .venv-uv/bin/uv
BIN := .venv/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
APT := $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0
VENV_ARGS := --quiet --python $(PYTHON)
SYNC := UV_LINK_MODE=copy UV_NO_CONFIG=1 $(UV) pip sync --quiet --require-hashes
# Jobs run as the cluster's users, who cannot read every checkout.
APPS ?= /var/tmp/towpath-apps
DEBIANS ?= /var/tmp/towpath-debian
ARGS ?=
# Tests mostly wait, for a cluster or a hub: five processes share the files, and each has its own of both.
SPREAD ?= --numprocesses 5 --dist loadfile --no-loadscope-reorder

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 21

run: .venv/.run .venv-jupyter/.done  ## Serve the hub at http://127.0.0.1:8000/ (ARGS="--port 9000" to change)
	@PATH="$$PWD/.venv-jupyter/bin:$$PATH" exec $(BIN)/towpath serve $(ARGS)

test: check .venv-jupyter/.done .venv-edges/.done tests/idp/node_modules/.done .cache/jupyterhub-rest-api.yml debian-test cluster-apps  ## Install what the tests need, and run them all
	@PATH="$$PWD/.venv-jupyter/bin:$$PATH" $(BIN)/python -m pytest $(SPREAD) $(ARGS)

test-slurm-versions: .venv/.test debian-test  ## The tests on a cluster again, on the Slurms of Debian trixie and forky
	@for release in trixie forky; do
	    $(SUDO) deploy/devcluster/another-debian.sh $$release $(DEBIANS)-$$release
	    $(SUDO) deploy/devcluster/pyslurm/build.sh $(DEBIANS)-$$release $(CURDIR)/.venv-uv/bin/pip
	    echo "Slurm of Debian $$release"
	    # The browser's tests start apps that were installed for this release's Python.
	    TOWPATH_TEST_DEBIAN=$(DEBIANS)-$$release $(BIN)/python -m pytest $(SPREAD) -m "not browser" \
	        tests/contracts/test_launcher.py tests/cluster $(ARGS)
	done

check: .venv/.test  ## Format, lint, types, import directions
	@$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: .venv/.test  ## Format, and fix lint errors
	@$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.test .venv-jupyter/.done .venv-bench/.done debian-bench  ## Measure against the peers; writes docs/performance.md
	@PATH="$$PWD/.venv-jupyter/bin:$$PATH" $(BIN)/python -m tests.bench $(ARGS)

.PHONY: bench-slurm
bench-slurm: .venv/.test .venv-bench/.done debian-slurm debian-bench cluster-apps  ## The same on a real Slurm (root): its part of the page
	@tests/debian.sh sudo:sudo
	$(SUDO) $(BIN)/python -m tests.bench_slurm $(ARGS)

.PHONY: bench-ways
bench-ways: .venv/.test .venv-bench/.done debian-bench  ## The ways in beside OpenSSH and CHP (root); prints their goals
	@tests/debian.sh sudo:sudo
	$(SUDO) env PYTHONPATH=tests $(BIN)/python -m tests.bench.ways_in $(ARGS)

.PHONY: fuzz
fuzz: .venv-fuzz/.done  ## Fuzz what clients and apps send, with coverage (ARGS="path --seconds 600" to change)
	@.venv-fuzz/bin/python -m tests.fuzz $(ARGS)

cluster: debian-slurm .venv/.run cluster-apps  ## Start a real Slurm on this machine and a hub on it (root)
	@$(SUDO) $(PYTHON) -B -m deploy.devcluster up --hub $(BIN)/towpath --apps $(APPS) $(ARGS)

cluster-down:  ## Stop the cluster, and remove everything that it created
	@$(SUDO) $(PYTHON) -B -m deploy.devcluster down $(ARGS)

lock: $(UV)  ## Update the lock files from pyproject.toml
	@compile="$(UV) pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11 --upgrade"
	$$compile pyproject.toml --group build -o requirements/run.lock
	$$compile pyproject.toml --group build --group test -o requirements/test.lock
	$$compile --group pyproject.toml:bench -o requirements/bench.lock
	$$compile --group pyproject.toml:jupyter -o requirements/jupyter.lock
	$$compile --group pyproject.toml:apps -o requirements/apps.lock
	$$compile --group pyproject.toml:edges -o requirements/edges.lock
	$$compile --group pyproject.toml:fuzz -o requirements/fuzz.lock

clean:  ## Remove what make installed here
	rm -rf .venv .venv-* build dist

# --- environments: each is made whole from its lock; a stamp says which lock it has -------------------------
$(UV): requirements/uv.lock
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Installing Debian packages: python3-venv"; $(APT) update; $(APT) install -y --no-install-recommends python3-venv >/dev/null; }
	echo "Installing uv"
	$(PYTHON) -m venv --clear .venv-uv
	.venv-uv/bin/pip install --quiet --require-hashes -r requirements/uv.lock
	touch $@

.venv/.test: requirements/test.lock pyproject.toml | $(UV)
	@echo "Installing Towpath and what its tests need"
	[ -x $(BIN)/python ] || $(UV) venv $(VENV_ARGS) .venv
	$(SYNC) --python $(BIN)/python requirements/test.lock
	$(UV) pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python -e .
	touch .venv/.run $@

.venv/.run: requirements/run.lock pyproject.toml | $(UV)
	@echo "Installing Towpath"
	[ -x $(BIN)/python ] || $(UV) venv $(VENV_ARGS) .venv
	$(SYNC) --python $(BIN)/python requirements/run.lock
	$(UV) pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python -e .
	rm -f .venv/.test
	touch $@

.venv-jupyter/.done: requirements/jupyter.lock | $(UV)
	@echo "Installing JupyterLab"
	$(UV) venv --clear $(VENV_ARGS) .venv-jupyter
	$(SYNC) --python .venv-jupyter/bin/python requirements/jupyter.lock
	touch $@

.venv-edges/.done: requirements/edges.lock | $(UV)
	@echo "Installing the edge proxies of the tests"
	$(UV) venv --clear $(VENV_ARGS) .venv-edges
	$(SYNC) --python .venv-edges/bin/python requirements/edges.lock
	touch $@

.venv-bench/.done: requirements/bench.lock tests/bench/package.json | $(UV)
	@echo "Installing the peers"
	$(UV) venv --clear $(VENV_ARGS) .venv-bench
	$(SYNC) --python .venv-bench/bin/python requirements/bench.lock
	command -v npm >/dev/null || { $(APT) update; $(APT) install -y --no-install-recommends npm >/dev/null; }
	npm ci --silent --prefix tests/bench
	touch $@

.venv-fuzz/.done: requirements/run.lock requirements/fuzz.lock pyproject.toml | $(UV)
	@echo "Installing the fuzzer"
	$(UV) venv --clear $(VENV_ARGS) .venv-fuzz
	$(SYNC) --python .venv-fuzz/bin/python requirements/run.lock requirements/fuzz.lock
	touch $@

tests/idp/node_modules/.done: tests/idp/package-lock.json
	@echo "Installing the identity provider of the tests"
	command -v npm >/dev/null || { $(APT) update; $(APT) install -y --no-install-recommends npm >/dev/null; }
	npm ci --silent --prefix tests/idp
	touch $@

# JupyterHub's own description of its API, which ours is tried with. Only its sdist has it; nothing of that is installed.
.cache/jupyterhub-rest-api.yml: requirements/jupyterhub-sdist.lock | $(UV)
	@echo "Fetching JupyterHub's rest-api.yml"
	mkdir -p .cache
	.venv-uv/bin/pip download --quiet --disable-pip-version-check --no-deps --no-binary jupyterhub --require-hashes \
	    -r requirements/jupyterhub-sdist.lock -d .cache/sdist
	tar -xzOf .cache/sdist/jupyterhub-*.tar.gz --wildcards '*/docs/source/_static/rest-api.yml' > $@
	rm -r .cache/sdist

.PHONY: cluster-apps
cluster-apps: $(UV)
	@deploy/devcluster/apps/install.sh $(APPS) $(CURDIR)/requirements/apps.lock $(CURDIR)/$(UV)

.PHONY: debian-test debian-bench debian-slurm
# Plug-ins are files, not commands: one without which Slurm does not start stands for each of their packages.
SLURM_PLUGINS := /usr/lib/*/slurm-wlm
SLURM_PACKAGES := munged:munge mariadbd:mariadb-server slurmctld:slurmctld slurmd:slurmd slurmdbd:slurmdbd \
	slurmrestd:slurmrestd sbatch:slurm-client "$(SLURM_PLUGINS)/select_cons_tres.so:slurm-wlm-basic-plugins" \
	"$(SLURM_PLUGINS)/auth_jwt.so:slurm-wlm-jwt-plugin" \
	"$(SLURM_PLUGINS)/accounting_storage_mysql.so:slurm-wlm-mysql-plugin"

debian-test: debian-slurm
	@tests/debian.sh redis-server:redis-server chromium:chromium sudo:sudo \
	    /usr/share/modules/init/bash:environment-modules sshd:openssh-server \
	    slapd:slapd ldapadd:ldap-utils nginx:nginx slirp4netns:slirp4netns pasta:passt ip:iproute2 \
	    haproxy:haproxy apache2:apache2 h2load:nghttp2-client wrk:wrk

debian-slurm:
	@tests/debian.sh $(SLURM_PACKAGES)

debian-bench:
	@tests/debian.sh nginx:nginx wrk:wrk
