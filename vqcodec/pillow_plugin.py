"""Importing this module registers .vqc files with Pillow."""

from vqcodec.pillow import register_pillow

register_pillow()
