"""Grids of runs with a question: design, engines, statistics, report."""
