"""`python -m zoo`, where another program is called zoo too."""

from zoo.cli.main import run

run()
