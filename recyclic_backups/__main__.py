"""``python -m recyclic_backups``: the command line."""

from recyclic_backups.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
