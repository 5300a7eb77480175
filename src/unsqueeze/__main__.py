"""``python -m unsqueeze`` is the command ``unsqueeze``."""

from unsqueeze.cli.main import main

if __name__ == "__main__":
    main()
