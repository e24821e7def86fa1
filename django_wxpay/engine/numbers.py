"""The merchant's numbers that we give to WeChat Pay."""

import secrets


def new_number():
    """32 characters, digits and lower-case letters, random: they carry no meaning and betray no volume."""
    return secrets.token_hex(16)
