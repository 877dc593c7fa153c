"""Learned stand-ins: predictors of affinity, emulators of simulators, and when to trust them.

- `surrogates.affinity.AffinityModel`: from structure to ln Kd with an interval; `surrogates.baseline`: what it must beat
- `surrogates.affinity_evaluation.AffinityEvaluation`: both judged on compounds left out in turn
"""
