"""A small shop as a shop writes it, for type checkers alone: mypy --strict and pyright must find nothing in it.

In `mistakes.py` they must find what is marked, and nothing else. Nothing here is run: `make check` reads it.
"""
