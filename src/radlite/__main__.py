"""`python -m radlite`, as launchers of several processes start it."""

from radlite.cli import main

if __name__ == "__main__":
    main()
