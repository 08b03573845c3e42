#!/bin/sh
# Makes a system user of each line NAME:HASH of hub-users (openssl passwd -6 makes a hash), then runs the hub, which signs them in by PAM.
set -eu
users=${HUB_USERS:-/etc/neocube/hub-users}
while IFS=: read -r name hash; do
    case "$name" in '' | '#'*) continue ;; esac
    id "$name" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$name"
    printf '%s:%s\n' "$name" "$hash" | chpasswd --encrypted
done < "$users"
exec jupyterhub --config /srv/neocube/deployments/jupyterhub/jupyterhub_config.py
