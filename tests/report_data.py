"""A synthetic result, small and complete: every variable that the page can show, with made-up numbers.

Nothing here is science: the names, layout, units and kinds of values are those of a result, so that the page can be
tested without a run.
"""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

TIMES = [-180.0, -120.0, -60.0, -10.0, 0.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 90.0, 120.0, 180.0, 240.0]
DOSES = [1e-4, 1e-3, 1e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]
GOAL = """answer:
  readout: pAKT
  window: [0 min, 240 min]
  cell_line: LineA
  vehicle: ligand + antibody
  positive_control: ligand + antibody + knock-out
  removed: 90 %
  in_cells: 90 %
  engagement: pMET
  washout_at: 60 min
"""
SCENARIO = f"""name: synthetic
title: A synthetic result
seed: 7
cell: {{model: cell.ant}}
readouts: {{pMAPK: phosphorylated MAPK, pAKT: phosphorylated AKT, pMET: phosphorylated MET}}
{GOAL}"""


def _course(level: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[member, time]: rest before 0, a peak, then `level`."""
    t = np.array(TIMES)
    shape = np.where(t < 0, 0.2, 1 - np.exp(-np.clip(t, 0, None) / 12)) * np.exp(-np.clip(t, 0, None) / 600)
    return level[:, None] * shape + 0.002 * rng.random((level.size, t.size))


def result(*, compounds: int = 3, members: int = 24, rows: int = 12, seed: int = 1) -> xr.Dataset:
    """A complete result of `compounds` × doses in LineA, with controls and a measured protocol in both lines."""
    rng = np.random.default_rng(seed)
    names = [f"CPD{n + 1:02d}" for n in range(compounds)]
    ic50 = np.geomspace(1, 30000, compounds)
    arms: list[tuple[str, str, str, float, str, str]] = [
        ("LineA", "ligand + antibody", "", np.nan, "twin", "vehicle"),
        ("LineB", "ligand + antibody", "", np.nan, "twin", "vehicle"),
        ("LineA", "ligand", "", np.nan, "twin", "control"),
        ("LineB", "ligand", "", np.nan, "twin", "control"),
        ("LineA", "no ligand", "", np.nan, "twin", "control"),
        ("LineB", "no ligand", "", np.nan, "twin", "control"),
        ("LineA", "ligand + antibody + knock-out", "", np.nan, "twin", "positive control"),
    ]
    arms += [("LineA", "ligand + antibody + inhibitor", c, d, "twin", "treatment") for c in names for d in DOSES]
    arms += [("LineA", "ligand + antibody + inhibitor, washed out", c, 1.0, "twin", "washout") for c in names]
    arms += [("LineB", "ligand + antibody + inhibitor", names[0], 1.0, "twin", "control")]
    arms += [(line, "ligand (measured protocol)", "", np.nan, "measured", "measured") for line in ("LineA", "LineB")]
    full = [f"{a[0]} · {a[1]}" + (f" · {a[2]} {a[3]:g} uM" if a[2] else "") for a in arms]

    shift = 10 ** rng.normal(0.8, 0.45, members)
    kd_nM = ic50[:, None] * shift * 10 ** rng.normal(0, 0.2, (compounds, members))
    kon = 10 ** rng.normal(5, 1, (compounds, members))
    size = rng.lognormal(0, 0.3, members)
    base = {"pAKT": 0.57, "pMAPK": 0.24, "pMET": 0.6}
    shape = (len(arms), members, len(TIMES))
    readouts = {name: np.zeros(shape) for name in base}
    removed, engaged, washed = (np.full(shape[:2], np.nan) for _ in range(3))
    for n, (line, treatment, compound, dose, _, role) in enumerate(arms):
        occupancy = np.zeros(members)
        if compound and line == "LineA":
            k = names.index(compound)
            occupancy = 1e3 * dose / (1e3 * dose + kd_nM[k])
            if role == "washout":
                residence = 1 / (60 * kon[k] * kd_nM[k] * 1e-9)
                washed[n] = occupancy * np.exp(-60 / residence)
                occupancy = washed[n]
            else:
                engaged[n] = occupancy
                removed[n] = occupancy * (1 - 0.07 * size**1.5) + rng.normal(0, 0.01, members)
        on = 0.02 if "no ligand" in treatment else 0.01 if "knock-out" in treatment else 1.0
        if role == "positive control":
            removed[n] = 1.0
        for name, top in base.items():
            readouts[name][n] = _course(top * size * on * (1 - 0.97 * occupancy) * (0.4 if line == "LineB" else 1), rng)

    ranked = np.array([a[5] == "treatment" for a in arms])
    share = np.where(ranked, (np.nan_to_num(removed) >= 0.9).mean(axis=1), np.nan)
    z = 1.959964
    middle = (share + z**2 / (2 * members)) / (1 + z**2 / members)
    half = z * np.sqrt(share * (1 - share) / members + z**2 / (4 * members**2)) / (1 + z**2 / members)
    order = np.lexsort((np.arange(len(arms)), -np.nan_to_num(share, nan=-1.0)))
    rank = np.zeros(len(arms), np.int16)
    rank[order[: ranked.sum()]] = np.arange(1, ranked.sum() + 1)
    winner = full[int(order[0])]

    learned = ic50 * 10 ** rng.normal(0, 0.6, compounds)
    crossed = np.clip(rng.beta(6, 1, (rows, 1)) * rng.beta(14, 1, (rows, 10)), 0, 1)
    sources = ["affinity", "kinetics", "module", "fit", "cell-to-cell"]
    total = np.array([0.62, 0.03, 0.01, 0.16, 0.24])
    parameters = ["Kd", "kdp", "ksyn_MET", "k_sloppy"]
    points = [(full[-2], "pAKT", t, v) for t, v in ((0, 0.05), (5, 0.3), (30, 0.5), (120, 0.55), (240, 0.4))]

    def per(*dims: str, **attrs: object):
        return lambda values, **more: (dims, values, {**attrs, **more})

    am, cm = per("arm", "member"), per("candidate", "member")
    variables = {
        **{
            name: (("arm", "member", "time"), values, {"units": "1", "long_name": f"phosphorylated {name[1:]}"})
            for name, values in readouts.items()
        },
        "status": (
            ("arm", "member"),
            np.zeros(shape[:2], np.int8),
            {"flag_values": [0, 1], "flag_meanings": "fine simulator_failed"},
        ),
        "answered_by": am(np.zeros(shape[:2], np.int8)),
        "removed": am(removed),
        "engagement": am(engaged),
        "removed_at_washout": am(washed),
        "responder_fraction": (("arm",), share),
        "responder_fraction_low": (("arm",), middle - half),
        "responder_fraction_high": (("arm",), middle + half),
        "rank": (("arm",), rank),
        "ic50_nM": (("candidate",), ic50),
        "k_D": (("candidate",), 3.1e9 * rng.uniform(0.9, 1.2, compounds), {"units": "1/(M s)"}),
        "sigma_ln_k_D": (("candidate",), np.full(compounds, 0.08)),
        "Kd_learned": (("candidate",), learned, {"units": "nM"}),
        "Kd_learned_low": (("candidate",), learned / 20),
        "Kd_learned_high": (("candidate",), learned * 20),
        "kon": cm(kon),
        "Kd": cm(kd_nM),
        "koff": cm(kon * kd_nM * 1e-9),
        "first_order": (("source",), total * 0.8),
        "first_order_low": (("source",), total * 0.8 - 0.05),
        "first_order_high": (("source",), total * 0.8 + 0.05),
        "total_order": (("source",), total),
        "total_order_low": (("source",), total - 0.06),
        "total_order_high": (("source",), total + 0.06),
        "crossed_removed": (("epistemic", "cell"), crossed),
        "crossed_fraction": (("epistemic",), (crossed >= 0.9).mean(axis=1)),
        "evidence_points": (("parameter",), np.array([0, 0, 170, 3])),
        "evidence_prior_sd_log10": (("parameter",), np.array([0.45, 0.58, 1.2, 1.2])),
        "evidence_posterior_sd_log10": (("parameter",), np.array([0.45, 0.58, 0.06, 0.9])),
        "evidence_influence": (("parameter",), np.array([0.6, 0.01, 0.2, 0.02])),
        "evidence_verdict": (("parameter",), ["assumed", "assumed", "constrained", "weakly constrained"]),
        "evidence_source": (("parameter",), ["IC50 x cell shift", "log-uniform", "fit", "fit"]),
        "evidence_group": (("parameter",), ["affinity", "module", "fit", "fit"]),
        "evidence_influence_dose": (("parameter",), np.array([0.7, 0.02, 0.1, 0.03])),
        "evidence_escape": (("parameter",), np.array([0.9, 0.55, 0.35, 0.5])),
        "evidence_escape_p": (("parameter",), np.array([0.001, 0.8, 0.04, 1.0])),
        "needed_dose_uM": cm(np.where(kd_nM * 9e-3 < 30, kd_nM * 9e-3, np.nan), units="uM"),
        "needed_dose_reason": cm(
            np.where(kd_nM * 9e-3 < 30, 0, 2).astype(np.int8),
            flag_values=[0, 1, 2],
            flag_meanings="crossed reached_at_the_lowest_tested_dose_already not_reached_at_the_highest_tested_dose",
        ),
        "lowest_dose_uM": (("candidate",), np.where(ic50 < 100, 10.0, np.nan), {"units": "uM"}),
        "half_dose_uM": (("candidate",), ic50 * 6e-3, {"units": "uM"}),
        "half_dose_uM_low": (("candidate",), ic50 * 1e-3, {"units": "uM"}),
        "half_dose_uM_high": (("candidate",), ic50 * 3e-2, {"units": "uM"}),
        "span": (("judged_readout",), np.array([0.98, 0.17])),
        "span_low": (("judged_readout",), np.array([0.97, 0.08])),
        "span_high": (("judged_readout",), np.array([0.99, 0.3])),
        "first_order_rank": (("source",), total * 0.9),
        "total_order_rank": (("source",), total * 1.05),
        "measured_value": (("point",), np.array([p[3] for p in points])),
        "measured_sd": (("point",), np.full(len(points), 0.05)),
        "measured_time": (("point",), np.array([float(p[2]) for p in points])),
        "measured_arm": (("point",), [p[0] for p in points]),
        "measured_readout": (("point",), [p[1] for p in points]),
        "measured_set": (("point",), ["blot 1", "blot 1", "blot 1", "blot 2", "blot 2"]),
    }
    coords = {
        "arm": full,
        "cell_line": (("arm",), [a[0] for a in arms]),
        "treatment": (("arm",), [a[1] for a in arms]),
        "compound": (("arm",), [a[2] for a in arms]),
        "dose_uM": (("arm",), np.array([a[3] for a in arms]), {"units": "uM"}),
        "protocol": (("arm",), [a[4] for a in arms]),
        "role": (("arm",), [a[5] for a in arms]),
        "member": np.arange(members),
        "time": (("time",), TIMES, {"units": "min"}),
        "ksyn_MET": (("member",), size),
        "candidate": names,
        "smiles": (("candidate",), ["C" * (n + 1) for n in range(compounds)]),
        "source": sources,
        "judged_readout": ["pAKT", "pMAPK"],
        "parameter": parameters,
    }
    attrs = {
        "title": "Which inhibitor makes the antibody work?",
        "question": "Which inhibitor, at which dose, removes at least 90 % of the signal in at least 90 % of cells?",
        "scenario": SCENARIO,
        "scenario_sha256": "0" * 64,
        "files": json.dumps({"cell.ant": "1" * 64}),
        "versions": json.dumps({"numpy": "2.4.6", "python": "3.11.2"}),
        "seed": 7,
        "kakehashi_version": "0.1.0",
        "Conventions": "CF-1.11",
        "winner": winner,
        "answer": f"Resting on parameters that no data constrain: {names[0]} at 30 µM removes at least 90 % of the signal in "
        f"{100 * np.nanmax(share):.0f} % of LineA cells.",
        "answer_details": json.dumps(
            ["Kd in the cell is assumed, not measured.", "All treatments go beyond the measured protocol."]
        ),
        "goal_met_probability": 0.58,
        "goal_met_probability_low": 0.42,
        "goal_met_probability_high": 0.73,
        "crossed_variance_unknown": 0.7,
        "crossed_variance_cells": 0.2,
        "crossed_variance_joint": 0.1,
        "evidence_cells": members,
        "evidence_escaped": 5,
        "trust": json.dumps(
            {
                "tolerance": 0.05,
                "risk": 0.05,
                "confidence": 0.95,
                "coverage": 0.97,
                "share_wrong": 0.012,
                "error": {"q50": 0.004, "q90": 0.012, "q99": 0.06},
                "error_vouched": {"q50": 0.004, "q90": 0.01, "q99": 0.031},
                "baselines": {"nearest training cell": {"q50": 0.09, "q90": 0.3, "q99": None, "within": 0.2}},
                "cells": {"train": 1200, "test": 300},
                "mechanism_ms": 3.2,
                "emulator_ms": 2.9,
                "speed_up": 1.07,
                "choice": "mechanism",
                "decision": "Mechanism answered every cell: for a model this small it is as fast as the emulator.",
            }
        ),
        "affinity": json.dumps(
            {
                "leave_one_out": [
                    {
                        "model": "Gaussian process",
                        "rmse_log10": 0.81,
                        "spearman": 0.74,
                        "coverage_95": 0.94,
                        "n": compounds,
                    },
                    {"model": "mean", "rmse_log10": 1.32, "spearman": None, "coverage_95": 1.0, "n": compounds},
                ],
                "limits": f"{compounds} compounds cannot certify coverage.",
            }
        ),
        "run_seconds": 51.3,
        "run_seconds_molecule": 9.2,
        "run_seconds_learned": 0.4,
        "run_seconds_cells": 38.0,
        "run_seconds_answer": 2.1,
        "run_workers": 2,
        "run_executor": "processes",
    }
    return xr.Dataset(variables, coords=coords, attrs=attrs)


def plain_result() -> xr.Dataset:
    """A user's own result: readouts, arms and parameters, without compounds, goal, evidence or trust."""
    rng = np.random.default_rng(3)
    level = rng.lognormal(0, 0.3, 8)
    values = np.stack([_course(level * top, rng) for top in (1.0, 0.3)])
    return xr.Dataset(
        {"pEpoR": (("arm", "member", "time"), values, {"units": "nM", "long_name": "phosphorylated receptor"})},
        coords={
            "arm": ["Epo", "Epo + JAK2 knock-down"],
            "cell_line": (("arm",), ["cell", "cell"]),
            "treatment": (("arm",), ["Epo", "Epo + JAK2 knock-down"]),
            "member": np.arange(8),
            "time": (("time",), TIMES, {"units": "min"}),
        },
        attrs={"title": "My own model", "scenario": "name: own\n", "seed": 1, "kakehashi_version": "0.1.0"},
    )
