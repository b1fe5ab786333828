"""Agents: learned from configurations, and the baselines that bound the score."""
