"""Doors over HTTP: where WeChat Pay knocks, and what a shop's front end may ask."""
