"""System checks: every mistake in the settings has an id, a reason and a way to mend it."""
