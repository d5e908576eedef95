# What the scripts beside this one share.
set -Eeuo pipefail
trap 'echo "${0##*/}:$LINENO: $BASH_COMMAND" >&2' ERR

# says EXPECTED COMMAND...: whether that is what the command prints.
says() {
    local expected=$1 said
    shift
    said=$("$@")
    if [ "$said" != "$expected" ]; then
        echo "$*: \`$said\`, and not \`$expected\`" >&2
        return 1
    fi
}

# eventually SECONDS COMMAND...: asks again until the command succeeds.
eventually() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            echo "in vain: $*" >&2
            return 1
        fi
        sleep 0.2
    done
}

# In a network and processes of its own: its ports are free, and nothing outlives it.
apart() {
    unshare --net --mount --pid --fork --kill-child --mount-proc "$@"
}

# ready ROLE URL CURL-OPTION...: waits for the role to be ready; $work/ROLE.log tells why it is not.
ready() {
    local role=$1 url=$2
    shift 2
    if ! curl --silent --fail --output /dev/null --retry 30 --retry-delay 1 --retry-all-errors "$@" "$url"; then
        echo "the $role does not become ready; its log:" >&2
        tail -n 20 "$work/$role.log" >&2
        return 1
    fi
}

# The peer on this machine plays MPEG-TS: a thousand packets, each of which begins with a G.
plays() {
    curl --silent --max-time 20 http://127.0.0.1:8080/live | head -c 188000 >"$work/stream" || true
    says 188000 stat -c %s "$work/stream"
    says 1000 packets "$work/stream"
}

packets() {
    od -An -v -tx1 -w188 "$1" | grep -c '^ 47'
}

# The link that `p2psp ctl get channel -o json` shows.
link_of() {
    "$@" get channel -o json | sed -n 's/.*"link": "\(.*\)".*/\1/p'
}
