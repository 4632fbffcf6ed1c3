#!/usr/bin/env bash
# One turn of the loop, as cron or clet-loop.timer runs it. Everything is kept below CLET_HOME:
#
#   sources.toml   what to take in, how often, and what is known of it; see clet-sources(7)
#   sources   the same as one SOURCE of clet ingest a line, # for comments   (you write one of the two, or both)
#   model/    the model to start from: clet init                                     (you make it)
#   held-out/ records to measure on, never to learn from; a turn that makes them     (optional)
#             worse by more than CLET_MAX_LOSS_RISE (0.02 nats a token) is not promoted, and ends with 1
#   policy.toml  what to learn and what not, see clet-policy(5); scripts/policy.toml is an example   (optional)
#   clet.toml settings, a table for each command; see clet(1)                        (optional)
#   run/      training state and releases; clet serve "$CLET_HOME/run" answers from it
#
# Each step writes a file that appears whole, and a step whose file is there is not done again: a turn that was killed
# is finished by the next call, exactly where it stopped. Statuses: 3 nothing new, 75 another turn is running.
set -euo pipefail
cd "${CLET_HOME:?name the directory of this loop in CLET_HOME}"
[ -f clet.toml ] && export CLET_CONFIG=${CLET_CONFIG:-$PWD/clet.toml}
sources=()
[ -f sources.toml ] && sources+=(--sources sources.toml)
[ -f sources ] && mapfile -t -O "${#sources[@]}" sources < <(sed 's/#.*//; s/[[:space:]]*$//; /^$/d' sources)
[ "${#sources[@]}" -gt 0 ] || { echo "nightly: name what to read in $PWD/sources.toml or $PWD/sources" >&2; exit 78; }
mkdir -p state turns rejects
exec 9> turns/lock
flock -n 9 || { echo "nightly: another turn is running" >&2; exit 75; }

turn=$(cat turns/open 2> /dev/null || true)
if [ -z "$turn" ]; then
    turn=turns/$(date -u +%Y-%m-%dT%H%M%SZ)
    mkdir "$turn"
    echo "$turn" > turns/open.tmp
    mv turns/open.tmp turns/open
fi
night=${turn#turns/}
shopt -s nullglob
held_out=(held-out/*)

close_turn() { rm -rf "$turn"; rm -f turns/open; }

status=0
[ -e "$turn/1-documents.clet" ] || clet ingest "${sources[@]}" --tokenizer model --state state/ingest \
    --rejects "rejects/$night-ingest.jsonl.zst" -o "$turn/1-documents.clet" || status=$?
case $status in
    0 | 1 | 69) status=0 ;; # a source that failed is tried again next time; what the others gave is learned now
    3) close_turn; exit 3 ;;
    *) exit "$status" ;;
esac
[ -e "$turn/1-documents.clet" ] || { close_turn; exit 69; }
# Boilerplate that stood in an earlier document is read and not learned; an evaluation set goes behind --against.
[ -e "$turn/2-unique.clet" ] || clet dedup "$turn/1-documents.clet" --tokenizer model --spans 50 --state state/seen \
    --rejects "rejects/$night-dedup.jsonl.zst" -o "$turn/2-unique.clet"
# What is suspicious waits in quarantine.jsonl.zst for clet judge review; the live release is the gate of its budgets.
defence=(--state state/trust --quarantine quarantine.jsonl.zst --run run)
[ -f policy.toml ] && defence+=(--policy policy.toml)
[ -e "$turn/3-ordered.clet" ] || clet prioritize "$turn/2-unique.clet" "${defence[@]}" \
    --rejects "rejects/$night-prioritize.jsonl.zst" -o "$turn/3-ordered.clet"
if [ ! -e "$turn/4-sharded" ]; then
    # The shards of a turn live in a folder of their own; one that was not finished is made anew.
    rm -rf "shards/$night"
    clet shard "$turn/3-ordered.clet" --tokenizer model -o "shards/$night" || status=$?
    case $status in 0 | 1) ;; 3) close_turn; exit 3 ;; *) exit "$status" ;; esac
    touch "$turn/4-sharded"
fi

status=0
clet train shards/* --model model --run run >> train.jsonl || status=$?
# 1: the breaker tripped, put windows into quarantine, and training went on. 3: these shards were learned already.
case $status in
    0 | 1 | 3) ;;
    # Shards that the run refuses (made with other settings, say) are made anew by the next call; others come out equal.
    *) rm -f "$turn/4-sharded"; exit "$status" ;;
esac

# The gate: what is promoted must not predict the held-out records worse than what is live now.
verdict=promote
if [ ${#held_out[@]} -gt 0 ]; then
    clet eval perplexity -q run "${held_out[@]}" --tier live > "$turn/live.json"
    clet eval perplexity -q run "${held_out[@]}" --tier realtime > "$turn/new.json"
    verdict=$(python - "$turn/live.json" "$turn/new.json" "${CLET_MAX_LOSS_RISE:-0.02}" << 'PY'
import json, math, sys
live, new = (math.log(json.load(open(path))["perplexity"]) for path in sys.argv[1:3])
print("promote" if new - live <= float(sys.argv[3]) else f"loss rose by {new - live:.4f}")
PY
    )
fi
close_turn
if [ "$verdict" != promote ]; then
    echo "nightly: the newest release stays a candidate: held-out $verdict" >&2
    exit 1
fi
clet release promote run live
