#!/bin/sh
# Hands the database password to libpq, so that it stands neither in the settings nor in a URL.
set -eu

secret=/run/secrets/postgres_password
if [ -r "$secret" ]; then
    PGPASSWORD="$(cat "$secret")"
    export PGPASSWORD
fi
exec dicomnode "$@"
