"""`python -m vqcodec`: the same as the command `vqcodec`."""

from vqcodec.cli import main

main()
