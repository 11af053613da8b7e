"""``python -m convsmith`` is ``convsmith``; torchrun needs a module to run."""

from convsmith.cli.main import main

if __name__ == "__main__":
    main()
