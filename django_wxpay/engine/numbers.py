"""The merchant's numbers that we give to WeChat Pay."""

from __future__ import annotations

import secrets


def new_number() -> str:
    """32 characters, digits and lower-case letters, random: they carry no meaning and betray no volume."""
    return secrets.token_hex(16)
