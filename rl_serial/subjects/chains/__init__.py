"""Chains with exact values, under a task."""
