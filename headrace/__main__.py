"""`python -m headrace`: the same command line where no script is installed."""

from headrace.cli import main

main()
