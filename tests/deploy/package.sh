#!/bin/bash
# tests/deploy/package.sh p2psp_VERSION_ARCH.deb: installs the package on this machine, lets a splitter and a peer stream as its units say,
# removes it, and fails if a file stays. For root, on a machine that has no P2PSP of its own.
. "$(dirname "$0")/common.sh"

splitter=127.0.0.1:4490
peer=127.0.0.1:4491
# What systemd might choose for DynamicUser=.
user=61234

main() {
    deb=$(realpath "$1")
    # One run at a time on a machine.
    exec 9</run/lock
    flock 9
    # Left by a run that was killed: then what is here is ours.
    mark=/var/tmp/package-test
    if [ -e "$mark" ]; then forget; fi
    before=$(traces)
    if dpkg-query --show p2psp >/dev/null 2>&1 || [ -n "$before" ]; then
        echo "P2PSP is on this machine already, and this test would remove it with its keys:" "$before" >&2
        exit 1
    fi
    : >"$mark"
    trap forget EXIT

    install_package
    says "p2psp $(dpkg-deb --field "$deb" Version)" p2psp --version
    dpkg --verify p2psp
    is_complete
    apart bash "$0" --team

    echo "# a word of the administrator" >>/etc/p2psp/splitter.toml
    install_package --reinstall
    says "# a word of the administrator" tail -n 1 /etc/p2psp/splitter.toml

    apt_get remove p2psp
    test ! -e /usr/bin/p2psp -a -e /etc/p2psp/splitter.toml -a -e /var/lib/p2psp-splitter/channel.key
    apt_get purge p2psp
    says "" traces
    echo "installed, ran, and was removed: $(basename "$deb")"
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 "$@" </dev/null >/dev/null
}

install_package() {
    apt_get install --no-install-recommends "$@" "$deb"
}

forget() {
    if dpkg-query --show p2psp >/dev/null 2>&1; then apt_get purge p2psp || true; fi
    rm -rf "$mark" /var/lib/p2psp-splitter /var/lib/p2psp-peer /run/p2psp-splitter /run/p2psp-peer
    # Packages leave their groups; a test leaves nothing.
    if getent group p2psp >/dev/null; then groupdel p2psp; fi
}

# All that is called so where programs and their data live.
traces() {
    find /bin/ /etc /lib/ /opt /run /sbin/ /srv /usr /var -xdev -iname '*p2psp*' -not -path "$PWD/*" -not -path "$deb" 2>/dev/null | sort
}

is_complete() {
    local file
    for file in splitter.toml peer.toml; do
        says "640 root:p2psp" stat -c '%a %U:%G' "/etc/p2psp/$file"
        p2psp config check --config "/etc/p2psp/$file" >/dev/null
    done
    systemd-analyze verify --man=no p2psp-splitter.service p2psp-peer.service
    # Nothing is on the air until its owner says so.
    says "" find /etc/systemd -name 'p2psp*'
    dpkg -L p2psp >"$mark"
    for file in man/man1/p2psp.1.gz man/man1/p2psp-ctl.1.gz man/man1/p2psp-config-schema.1.gz zsh/vendor-completions/_p2psp fish/vendor_completions.d/p2psp.fish \
        doc/p2psp/examples/prometheus/p2psp.rules.yml doc/p2psp/examples/grafana/dashboards/p2psp-team.json; do
        grep -qx "/usr/share/$file" "$mark"
    done
    bash -euc '. /usr/share/bash-completion/completions/p2psp; complete -p p2psp' >/dev/null
}

# Within the namespaces.
team() {
    ip link set lo up
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    echo 'advertise = ["127.0.0.1:4480"]' >>/etc/p2psp/splitter.toml
    start splitter
    ready splitter "http://$splitter/readyz"
    link=$(link_of p2psp ctl --admin unix:/run/p2psp-splitter/admin.sock)
    # As it comes the peer has no link; it says so, and that is final.
    start peer
    ended peer 2
    echo "link = \"$link\"" >>/etc/p2psp/peer.toml
    start peer
    ready peer "http://$peer/readyz"
    says "600 $user" stat -c '%a %u' /var/lib/p2psp-splitter/channel.key
    says "600 $user" stat -c '%a %u' /var/lib/p2psp-peer/peer.key

    plays
    p2psp ctl --admin unix:/run/p2psp-splitter/admin.sock get peers -o json >"$work/peers"
    says 1 grep -c '"slot"' "$work/peers"
    p2psp ctl --admin unix:/run/p2psp-peer/admin.sock get status >/dev/null
    says 1 metric "$splitter" p2psp_splitter_team_ready_peers
    says 1 metric "$peer" p2psp_peer_team_peers
    reloads
    for role in peer splitter; do
        kill -TERM "$(cat "$work/$role.pid")"
        ended "$role" 0
        rm -rf "/run/p2psp-$role"
    done
}

# A level that is new counts at once; a file that is wrong fails the reload, and nothing else.
reloads() {
    local role
    for role in peer splitter; do
        sed -i '1i log_level = "debug"' "/etc/p2psp/$role.toml"
        reload "$role" >/dev/null
        eventually 10 grep -q 'log_level: info -> debug' "$work/$role.log"
        echo 'colour = "blue"' >>"/etc/p2psp/$role.toml"
        if reload "$role" 2>"$work/refused"; then return 1; fi
        grep -q 'unknown key `colour`' "$work/refused"
        if grep 'stay as they are' "$work/$role.log"; then return 1; fi
        sed -i '1d; $d' "/etc/p2psp/$role.toml"
    done
}

# The value of metric $2 at address $1.
metric() {
    curl --silent --fail "http://$1/metrics" | sed -n "s/^$2 //p"
}

# Starts what the unit of role $1 says, as systemd would: an own user in the group that its unit names, a state and a runtime folder.
start() {
    local role=$1 folder
    for folder in "/var/lib/p2psp-$role" "/run/p2psp-$role"; do install -d -m 700 -o "$user" -g "$user" "$folder"; done
    as_unit "$role" "$(commands "$role" ExecStart)" 2>"$work/$role.log" &
    echo $! >"$work/$role.pid"
}

# Reloads role $1 as systemctl would: one command of the unit after the other, until one fails.
reload() {
    local role=$1 command
    while read -r command; do
        (as_unit "$role" "$command") </dev/null || return
    done < <(commands "$role" ExecReload)
}

# The commands of setting $2 in the unit of role $1, one a line.
commands() {
    sed -n ':a; /\\$/{N; s/\\\n//; ba}; '"s/^$2=//p" "/lib/systemd/system/p2psp-$1.service"
}

# Takes the place of the shell that runs it.
as_unit() {
    local role=$1 group
    group=$(sed -n 's/^SupplementaryGroups=//p' "/lib/systemd/system/p2psp-$role.service")
    exec env -i PATH="$PATH" MAINPID="$(cat "$work/$role.pid" 2>/dev/null)" STATE_DIRECTORY="/var/lib/p2psp-$role" RUNTIME_DIRECTORY="/run/p2psp-$role" \
        setpriv --reuid "$user" --regid "$user" --groups "$(getent group "$group" | cut -d: -f3)" --no-new-privs --bounding-set=-all --inh-caps=-all \
        sh -c "umask 077; exec $2"
}

# ended ROLE CODE: waits for the end of a role.
ended() {
    local code=0
    wait "$(cat "$work/$1.pid")" || code=$?
    if [ "$code" != "$2" ]; then
        echo "the $1 ended with $code, and not with $2; its log:" >&2
        tail -n 20 "$work/$1.log" >&2
        return 1
    fi
}

if [ "$1" = --team ]; then team; else main "$@"; fi
