"""Runs: a trained policy with its reward, its figures and its provenance, in memory and as a folder."""
