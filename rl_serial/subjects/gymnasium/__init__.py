"""Gymnasium environments, judged by their return."""
