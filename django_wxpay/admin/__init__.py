"""What staff may see and press."""
