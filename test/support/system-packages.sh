#!/bin/sh
# Installs the system packages that some tests need, where that is possible without asking: as root on Debian and its
# relatives. Everywhere else it says what is missing: the tests that need it are then skipped, and fail where CI is set.
set -u

# Both of one major: pg_dump refuses a server that is newer than itself.
has_postgresql() {
  for bin in /usr/lib/postgresql/*/bin; do
    [ -x "$bin/postgres" ] && [ -x "$bin/pg_dump" ] && return 0
  done
  return 1
}

missing=''
[ -x /usr/sbin/pgbouncer ] || missing="$missing pgbouncer"
has_postgresql || missing="$missing postgresql"
command -v chromium >/dev/null || missing="$missing chromium"
command -v firefox-esr >/dev/null || missing="$missing firefox-esr"
command -v redis-server >/dev/null || missing="$missing redis-server"
[ -x /usr/sbin/nginx ] || missing="$missing nginx"
command -v curl >/dev/null || missing="$missing curl"
command -v python3 >/dev/null || missing="$missing python3"
/usr/bin/python3 -c 'import django, psycopg2' 2>/dev/null || missing="$missing python3-django python3-psycopg2"
[ -z "$missing" ] && exit 0

give_up() {
  echo "system-packages: $1. The tests that need it are skipped. On Debian: apt-get install$missing" >&2
  exit 0
}

command -v apt-get >/dev/null || give_up "not found:$missing"
[ "$(id -u)" = 0 ] || give_up "not found, and only root may install:$missing"

# No package is to start a daemon or to create a cluster; both rules last no longer than the installation.
policy=/usr/sbin/policy-rc.d
clusters=/etc/postgresql-common/createcluster.d/rowcast-test.conf
ours=''
clean_up() {
  rm -f "$clusters"
  [ -z "$ours" ] || rm -f "$policy"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM
if [ ! -e "$policy" ]; then
  ours=yes
  printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
fi
mkdir -p "${clusters%/*}" && echo 'create_main_cluster = false' >"$clusters"

install() {
  # $missing is a list of words.
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends \
    -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold $missing </dev/null
}

echo "system-packages: installing$missing" >&2
log=$(install 2>&1) || log=$(apt-get update --quiet=2 2>&1 && install 2>&1) || {
  echo "$log" | tail -5 >&2
  give_up "could not install$missing"
}
