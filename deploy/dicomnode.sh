#!/bin/sh
# `dicomnode` for a person at the machine: as the service's user, with the service's settings and secrets.
# Copy to /usr/local/bin/dicomnode, mode 755.
set -eu
program=${DICOMNODE_PROGRAM:-/opt/dicomnode/.venv/bin/dicomnode}
secrets=${DICOMNODE_ENVIRONMENT:-/etc/dicomnode/environment}
export DICOMNODE_SETTINGS="${DICOMNODE_SETTINGS:-/etc/dicomnode/dicomnode.toml}"
# Read as systemd reads it: a line is a name and a value, nothing in it is run.
if [ -r "$secrets" ]; then
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
            DICOMNODE_*=*)
                value=${line#*=}
                case $value in
                    \"*\" | \'*\') value=${value#?} value=${value%?} ;;
                esac
                export "${line%%=*}=$value"
                ;;
        esac
    done < "$secrets"
fi
if [ "$(id -u)" = 0 ] && id -u dicomnode > /dev/null 2>&1; then
    exec runuser -u dicomnode -- "$program" "$@"
fi
exec "$program" "$@"
