"""The chain families, one file each."""
