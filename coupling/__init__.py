"""Simulators joined in time and across scales: the loop, schemes and bridges."""
