"""Learned stand-ins: predictors of affinity, emulators of simulators, and when to trust them."""
