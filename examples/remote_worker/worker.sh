#!/bin/sh
# A worker in plain shell and curl: takes jobs of one type, one at a time, and hands each to a program.
#
#   JOBS_URL=http://127.0.0.1:8765 JOBS_KEY=jl_... ./worker.sh invoice.send ./send-invoice
#
# The program gets the lease (JSON: payload, tenant, attempt, deadline ...) on stdin. What it prints is the result, JSON
# as the job type wants it; stderr goes into the job's log. Exit code 0 completes the job, 65 fails it for good, 75 puts
# it off for a minute, any other fails the attempt. SIGTERM: the job under way is finished, or the wait for one (20 s);
# where the server is away by then, it is not waited for: the lease runs out.
set -u
type=$1 program=$2 queue=${JOBS_QUEUE:-default} pause=${HEARTBEAT_SECONDS:-10} stopping=
worker="sh-$(uname -n)-$$-$(date +%s)" # new with each start: leases are held in it
umask 077
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'stopping=1' TERM INT
printf 'Authorization: Bearer %s\nContent-Type: application/json\n' "$JOBS_KEY" >"$dir/headers" # not in `ps`

post() { # post PATH [OPTIONS OF CURL] <BODY
  url=$JOBS_URL$1 && shift
  curl --silent --show-error --fail-with-body --max-time 30 --header @"$dir/headers" --data-binary @- "$@" "$url"
}

escaped() { # text on stdin, fit for the inside of a JSON string, line by line
  iconv -c -f UTF-8 -t UTF-8 | tr -d '\000-\010\013-\037' | sed 's/\\/\\\\/g; s/"/\\"/g; s/	/\\t/g'
}

tell() { # tell WHAT FIELDS: about the attempt under way, again while the server is away; an ending may be told twice
  until printf '{"worker":"%s"%s}' "$worker" "$2" | post "$path/$1" >"$dir/told" || is_over $?; do sleep 1; done
}

is_over() { # whether to tell it no more: the server refused it (what is lost is somebody else's by now), or SIGTERM came
  [ -n "$stopping" ] || { [ "$1" -eq 22 ] && ! grep -qE '"status":(429|50)' "$dir/told"; } || return
  cat "$dir/told" >&2
}

beat() { # says that the job is held, until it is not, or is to stop
  while sleep "$pause"; do
    held="{\"worker\":\"$worker\",\"held\":[{\"job_id\":\"$job\",\"attempt\":$attempt}]}"
    verdict=$(printf '%s' "$held" | post /v1/leases/heartbeat | sed -n 's/.*"verdict":"\([a-z_]*\)".*/\1/p')
    case $verdict in cancel_requested | timed_out | lost) echo "$verdict" >"$dir/verdict" && kill "$1" && return ;; esac
  done
}

while [ -z "$stopping" ]; do
  printf '{"worker":"%s","queues":["%s"],"types":["%s"],"wait_seconds":20}' "$worker" "$queue" "$type" |
    post /v1/leases/claim >"$dir/claim" || { sleep 2 && continue; }
  path=$(sed -n 's/^{"leases":\[{"path":"\([^"]*\)".*/\1/p' "$dir/claim")
  [ -n "$path" ] || continue # nothing to do
  attempt=${path##*/} job=${path%/attempts/*} job=${job##*/}
  rm -f "$dir/verdict"
  sed 's/^{"leases":\[//; s/\],"look_again_seconds":[^]]*$//' "$dir/claim" | "$program" >"$dir/out" 2>"$dir/err" &
  running=$!
  beat "$running" >/dev/null 2>&1 &
  beating=$!
  wait "$running"
  code=$?
  while kill -0 "$running" 2>/dev/null; do wait "$running"; code=$?; done # a signal ended the first wait
  kill "$beating" 2>/dev/null
  lines=$(head -n 1000 "$dir/err" | escaped | awk '{ printf "%s\"%s\"", (NR > 1 ? "," : ""), $0 }')
  [ -z "$lines" ] || tell log ",\"lines\":[$lines]"
  if [ -e "$dir/verdict" ]; then
    tell release ",\"reason\":\"$(cat "$dir/verdict")\""
    continue
  fi
  why=",\"error_type\":\"ExitCode$code\",\"message\":\"$(tail -n 1 "$dir/err" | escaped)\""
  case $code in
  0) tell complete ",\"result\":$(cat "$dir/out")" ;;
  65) tell fail "$why,\"never_retry\":true" ;;
  75) tell snooze ',"delay_seconds":60,"reason":"not now"' ;;
  *) tell fail "$why" ;;
  esac
done
printf '{"worker":"%s"}' "$worker" | post /v1/leases/retire --max-time 5 >"$dir/told" || echo "not retired" >&2
