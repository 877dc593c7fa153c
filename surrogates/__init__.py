"""Learned stand-ins: predictors of affinity, emulators of simulators, and when to trust them.

- `surrogates.affinity.AffinityModel`: from structure to ln Kd with an interval; `surrogates.baseline`: what it must beat
- `surrogates.affinity_evaluation.AffinityEvaluation`: both judged on compounds left out in turn
- `surrogates.emulator.Emulator`: a latent neural ODE that stands in for a simulator; `surrogates.domain.Domain`: what it was trained on
- `surrogates.trust_gate.TrustGate`: the calibrated decision to trust it; `surrogates.trusted.Trusted`: mechanism for the rest
- `surrogates.emulator_training.train_emulator`: how one is made; `surrogates.emulator_report.EmulatorReport`: how well it does
"""
