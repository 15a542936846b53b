"""Which study calls for which algorithm: rules in TOML, matched, explained, tried on history.

Start at `loading.load_rules`, then `matching.match`; `docs/rules.md` describes the file.
"""
