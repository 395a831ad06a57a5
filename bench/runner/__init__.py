"""Trials → results: on Ray, or in this process; the same numbers to the bit."""
