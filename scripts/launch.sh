#!/bin/sh
# Starts a run again from its last checkpoint until it ends well, as when a rank dies:
#
#   scripts/launch.sh --checkpoints DIR [--restarts N] mpirun -np 4 PROGRAM ...
#
# The program saves to DIR and resumes from it: `Training::checkpoints` and `resume`. At most N restarts, 10 unless
# said otherwise. Two starts in a row that leave no new checkpoint end the loop, since a third would fail as they did.
# The exit code is the last one of the command; 2 for a wrong use.
set -u

usage() {
    echo "launch: $1; usage: launch.sh --checkpoints DIR [--restarts N] mpirun ..." >&2
    exit 2
}

folder= restarts=10
while [ $# -gt 0 ]; do
    case $1 in
    --checkpoints) [ $# -gt 1 ] || usage "--checkpoints needs a folder"; folder=$2; shift 2 ;;
    --restarts) [ $# -gt 1 ] || usage "--restarts needs a number"; restarts=$2; shift 2 ;;
    --) shift; break ;;
    -*) usage "no option $1" ;;
    *) break ;;
    esac
done
[ -n "$folder" ] || usage "--checkpoints is missing"
[ $# -gt 0 ] || usage "the command is missing"
case $restarts in '' | *[!0-9]*) usage "--restarts is '$restarts', expected a number" ;; esac

# In folders within, too: a program may have several runs there.
saved() { (cd "$folder" && find . -name '*.safetensors' | sed 's|^\./||' | sort) 2>/dev/null; }

# Whoever stops the loop stops the run.
child=
trap 'trap - INT TERM; [ -z "$child" ] || { kill -TERM "$child"; wait "$child"; } 2>/dev/null; exit 143' INT TERM

started=0 idle=0
while :; do
    before=$(saved)
    "$@" <&0 &
    child=$!
    wait "$child"
    code=$?
    child=
    [ "$code" != 0 ] || exit 0
    after=$(saved)
    if [ "$before" = "$after" ]; then idle=$((idle + 1)); else idle=0; fi
    if [ "$idle" -ge 2 ]; then
        echo "launch: ended with code $code, and two starts in a row left no new checkpoint in $folder; giving up" >&2
        exit "$code"
    fi
    if [ "$started" -ge "$restarts" ]; then
        echo "launch: ended with code $code after $restarts restarts; giving up" >&2
        exit "$code"
    fi
    started=$((started + 1))
    last=$(printf '%s' "$after" | tail -1)
    echo "launch: ended with code $code; restart $started of $restarts from ${last:-the beginning}" >&2
done
