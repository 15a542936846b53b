"""What arrived, and when it is whole: `headers` reads instances, `closing` decides."""
