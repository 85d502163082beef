#!/usr/bin/env bash
# Checks doorbell.pml with Spin: the protocol holds, and each variant that leaves something out is seen to fail.
set -euo pipefail

model="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/doorbell.pml"

if ! command -v spin >/dev/null; then
  if [[ "$(id -u)" == 0 ]] && command -v apt-get >/dev/null; then
    { apt-get update -q && apt-get install -qy --no-install-recommends spin; } >&2
  else
    echo 'spin is not installed (Debian, Ubuntu: apt-get install spin; see https://spinroot.com)' >&2
    exit 2
  fi
fi
command -v gcc >/dev/null || { echo 'gcc is not installed' >&2; exit 2; }

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
failed=0

# check <variant> <expected number of errors>
check() {
  local dir="$work/$1" states errors result expected=holds
  mkdir "$dir"
  cd "$dir"
  spin -a "-D$1" "$model" >spin.log || { cat spin.log >&2; exit 2; }
  gcc -O2 -DSAFETY -DCOLLAPSE -DMEMLIM=3500 -o pan pan.c
  # Fails by itself when it runs out of time, memory or depth: then there is no result to trust.
  timeout 600 ./pan -m100000 >pan.log 2>&1 || true
  states="$(sed -nE 's/^ *([0-9.e+]+) states, stored.*/\1/p' pan.log)"
  errors="$(sed -nE 's/.*errors: ([0-9]+)$/\1/p' pan.log)"
  if [[ -z "$errors" ]]; then
    result=incomplete # it ran out of time
  elif grep -qE 'search not completed|out of memory|max search depth|hash table full' pan.log && [[ "$errors" == 0 ]]; then
    result=incomplete
  elif [[ "$errors" == 0 ]]; then
    result=holds
  elif grep -q 'assertion violated.*seen' pan.log; then
    result=stranded
  else
    result=broken
  fi
  if [[ "$2" == 1 ]]; then expected=stranded; fi
  if [[ "$result" != "$expected" ]]; then
    failed=1
    tail -n 30 pan.log >&2
  fi
  printf '%-14s %10s  %-10s %s\n' "$1" "${states:--}" "$result" "$expected"
}

printf '%-14s %10s  %-10s %s\n' variant states result expected
check BASE 0
check NO_SETTLE 1
check SNAPSHOT_XMAX 1
check PROBE_FIRST 1
check NO_FORWARD 1
check WAKING_SILENT 1
exit "$failed"
