"""`python -m soundkin.cli`."""

from soundkin.cli import main

if __name__ == "__main__":
    main()
