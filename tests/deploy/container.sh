#!/bin/bash
# tests/deploy/container.sh PROGRAM: builds the container image without an engine or a registry, and lets a splitter and a peer run from it
# with the settings, secrets and probes of the Kubernetes manifests. For root; needs buildah, openssl, curl and Prometheus, and leaves nothing behind.
#
# The program is given, in the place of the stage that builds it, and the base image is the C library of this machine, since no registry
# is asked: a base with less in it than any that one would use.
. "$(dirname "$0")/common.sh"
root=$(realpath "$(dirname "$0")/../..")

main() {
    work=$(mktemp -d)
    # By then nothing is mounted: that was in the namespace.
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work"/build/out/{usr/bin,var/lib/p2psp,run/p2psp} "$work/base"
    strip -o "$work/build/out/usr/bin/p2psp" "$1"
    for library in $(ldd "$1" | grep -o '/[^ ]*'); do install -D "$library" "$work/base$library"; done
    apart bash "$0" --team "$work"
    echo "the image was built and ran"
}

store() {
    buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@"
}

build() {
    printf 'FROM scratch\nCOPY . /\n' >"$work/base.containerfile"
    store build --quiet --isolation chroot --tag localhost/base --file "$work/base.containerfile" "$work/base" >/dev/null
    store build --quiet --isolation chroot --pull-never --format docker --build-context "build=$work/build" \
        --build-arg BUILD_IMAGE=localhost/base --build-arg BASE_IMAGE=localhost/base --build-arg REVISION=0 \
        --tag localhost/p2psp --file "$root/deploy/container/Containerfile" "$root" >/dev/null
    user=$(config '{{.Docker.Config.User}}')
    says 65532:65532 echo "$user"
    says SIGTERM config '{{.Docker.Config.StopSignal}}'
    config '{{range .Docker.Config.Labels}}{{println .}}{{end}}' >"$work/labels"
    grep -q 'github.com/p2psp' "$work/labels"
    mapfile -t entry < <(config '{{range .Docker.Config.Entrypoint}}{{println .}}{{end}}' | sed '/^$/d')
    mapfile -t health < <(config '{{range .Docker.Config.Healthcheck.Test}}{{println .}}{{end}}' | sed '/^$/d')
    says CMD echo "${health[0]}"
    # Nobody gets a shell in it.
    says "" find "$work/base" "$work/build" -name '*sh'
}

config() {
    store inspect --type image --format "$1" localhost/p2psp
}

# Within the namespaces.
team() {
    ip link set lo up
    build
    secrets
    for role in splitter peer; do
        store from --quiet --pull-never --name "$role" localhost/p2psp >/dev/null
        # buildah would mount the image's volume at the same place, and now and then over the one of this team.
        store config --volume /var/lib/p2psp- "$role"
        install -d -o 65532 -g 65532 "$work/state/$role"
    done
    if inside splitter "${health[@]:1}" >/dev/null 2>&1; then
        echo "the health check takes what does not run for healthy" >&2
        return 1
    fi
    # They share one network here; variables win over the file.
    start splitter --env P2PSP_SPLITTER_ADVERTISE=127.0.0.1:4480
    probed splitter 4490
    link=$(link_of inside splitter /usr/bin/p2psp ctl)
    start peer --env "P2PSP_PEER_LINK=$link" --env P2PSP_PEER_LISTEN=127.0.0.1:4481 \
        --env P2PSP_PEER_ADMIN=unix:/run/p2psp/admin.sock,0.0.0.0:4491
    probed peer 4491
    says "600 65532" stat -c '%a %u' "$work/state/splitter/channel.key"

    plays
    says 1 metric 4490 p2psp_splitter_team_ready_peers
    scraped
    for role in peer splitter; do
        pid=$(inside "$role" /usr/bin/p2psp ctl get info -o json | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
        # By the image's user, and with no more rights than that.
        # shellcheck disable=SC2016
        says "65532 0000000000000000" sed -n '/^Uid:/{s/^Uid:\t\([0-9]*\).*/\1/;H}; /^CapEff:/{s/.*\t//;H}; ${g;s/\n//;s/\n/ /p}' "/proc/$pid/status"
        kill -TERM "$pid"
        wait "$(cat "$work/$role.pid")"
    done
}

# What deploy/kubernetes/secrets.sh prints, as a pod finds it.
secrets() {
    "$root/deploy/kubernetes/secrets.sh" >"$work/secret.yaml"
    install -d -m 750 -g 65532 "$work/admin"
    for name in tls.crt tls.key tokens; do
        awk -v "name=  $name: |" '$0 == name { on = 1; next } /^  [a-z]/ { on = 0 } on { sub(/^    /, ""); print }' "$work/secret.yaml" \
            >"$work/admin/$name"
        chmod 440 "$work/admin/$name"
        chgrp 65532 "$work/admin/$name"
    done
    token=$(sed -n 's/^  scrape-token: //p' "$work/secret.yaml")
    chmod 711 "$work"
}

# start ROLE OPTION...: runs the image's program as the manifest does.
start() {
    local role=$1
    shift
    store run --isolation chroot --cap-drop all --volume "$work/state/$role:/var/lib/p2psp" --volume "$work/admin:/etc/p2psp/admin:ro" \
        --volume "$root/deploy/kubernetes/$role.toml:/etc/p2psp/$role.toml:ro" "$@" "$role" -- \
        "${entry[@]}" "$role" --config "/etc/p2psp/$role.toml" --ready none >/dev/null 2>"$work/$role.log" &
    echo $! >"$work/$role.pid"
}

# inside ROLE COMMAND...
inside() {
    local role=$1
    shift
    store run --isolation chroot "$role" -- "$@"
}

# As the kubelet, the engine and Prometheus ask.
probed() {
    ready "$1" "https://127.0.0.1:$2/readyz" --insecure
    curl --silent --insecure --fail --output /dev/null "https://127.0.0.1:$2/livez"
    inside "$1" "${health[@]:1}" >/dev/null
    says 401 curl --silent --insecure --output /dev/null --write-out '%{http_code}' "https://127.0.0.1:$2/metrics"
    says 0.1.0 version_at "$2"
}

# A real Prometheus with the manifests' settings gets both, if told where they are: no name server of a cluster is here.
scraped() {
    printf %s "$token" >"$work/admin/scrape-token"
    cp "$root/deploy/prometheus/p2psp.rules.yml" "$work"
    sed -e "s|/etc/p2psp/admin|$work/admin|; s/_interval: 15s/_interval: 1s/; s/dns_sd_configs:/static_configs:/; /type: A/d; /port: 4490/d" \
        -e "s/names: .splitter-admin.*/targets: ['127.0.0.1:4490']/; s/names: .peer-admin.*/targets: ['127.0.0.1:4491']/" \
        "$root/deploy/kubernetes/prometheus.yml" >"$work/prometheus.yml"
    prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/tsdb" --web.listen-address=127.0.0.1:9090 \
        2>"$work/prometheus.log" &
    local prometheus=$!
    ready prometheus http://127.0.0.1:9090/-/ready
    eventually 30 answers 'count(p2psp_info and on (instance, job) up{job=~"p2psp-splitter|p2psp-peer"} == 1)' 2
    kill "$prometheus"
    wait "$prometheus"
}

# answers QUERY VALUE
answers() {
    promtool query instant http://127.0.0.1:9090 "$1" >"$work/answer" && grep -q "=> $2 @" "$work/answer"
}

version_at() {
    scrape "$1" | sed -n 's/^p2psp_info{.*version="\([^"]*\)".*/\1/p'
}

# The value of metric $2 at port $1.
metric() {
    scrape "$1" | sed -n "s/^$2 //p"
}

scrape() {
    curl --silent --fail --cacert "$work/admin/tls.crt" --resolve "p2psp:$1:127.0.0.1" --header "Authorization: Bearer $token" \
        "https://p2psp:$1/metrics"
}

if [ "$1" = --team ]; then
    work=$2
    team
else
    main "$(realpath "$1")"
fi
