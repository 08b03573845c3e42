#!/bin/sh
# Makes a system user of each line NAME:HASH of hub-users (openssl passwd -6 makes a hash), then runs the hub, which signs them in by PAM. The users are
# made anew with each container and the homes stay: who has a home gets the id that owns it, the others ids above all owners of homes.
set -eu
users=${HUB_USERS:-/etc/neocube/hub-users}
homes=${HUB_HOMES:-/home}
lowest=$({ echo 999; find "$homes" -mindepth 1 -maxdepth 1 -printf '%U\n'; } | sort -n | tail -n 1)
lowest=$((lowest + 1))
names=$(while IFS=: read -r name _; do case "$name" in '' | '#'*) ;; *) echo "$name" ;; esac; done < "$users")
for name in $names; do
    if [ -d "$homes/$name" ] && ! id "$name" >/dev/null 2>&1; then
        useradd --no-create-home --shell /bin/bash --uid "$(stat -c %u "$homes/$name")" "$name" || {
            echo "$homes/$name: its owner has another home too, or is no user: chown it to an id of its own" >&2
            exit 1
        }
    fi
done
for name in $names; do
    id "$name" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash -K UID_MIN="$lowest" -K GID_MIN="$lowest" "$name"
    chmod 700 "$homes/$name"
done
while IFS=: read -r name hash; do
    case "$name" in '' | '#'*) continue ;; esac
    printf '%s:%s\n' "$name" "$hash" | chpasswd --encrypted
done < "$users"
exec jupyterhub --config /srv/neocube/deployments/jupyterhub/jupyterhub_config.py
