"""`python -m dicomnode` and the installed command are `dicomnode.cli`."""


def main() -> None:
    """Run the command of the process's own arguments."""
    # Processes that the node starts import this module again, and have no use for commands.
    from dicomnode.cli import main as run

    run()


if __name__ == "__main__":
    main()
