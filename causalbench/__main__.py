"""``python -m causalbench``."""

from causalbench.cli import main

main()
