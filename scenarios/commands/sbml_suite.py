"""`twin bench sbml`: the cases of the SBML Test Suite, run by our engines in processes of their own."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import platform
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

_WARM_UP = "S1 -> S2; k*S1; S1 = 1; S2 = 0; k = 1; at S1 < 0.5: k = 2;"


def run(folder: Path, *, processes: int, limit_s: float, memory_gib: float) -> list[dict[str, Any]]:
    """Outcomes of all cases below a folder, in order; a case that takes too long or ends its process fails.

    Raises:
        InputError: no cases.
    """
    from simulators.reaction.suite_case import cases

    waiting = cases(folder)[::-1]
    tags = _index(folder)
    found: dict[Path, dict[str, Any]] = {}
    order = waiting[::-1]
    workers = [_Worker(memory_gib) for _ in range(min(processes, len(waiting)))]
    while workers:
        for worker in workers:
            if worker.case is None and waiting:
                worker.give(waiting.pop())
        busy = [worker for worker in workers if worker.case is not None]
        if not busy:
            break
        ready = set(wait([worker.pipe for worker in busy], timeout=1.0))
        for worker in busy:
            case = worker.case
            assert case is not None
            if worker.pipe in ready:
                outcome = worker.take()
            elif worker.since is not None and time.monotonic() - worker.since > limit_s:
                outcome = _failure(f"not done within {limit_s:g} s", limit_s)
                worker.end()
            else:
                continue
            if outcome is None:  # it has said that it begins
                continue
            found[case] = {"suite": case.parent.name, "case": case.name, **tags.get(case, {}), **outcome}
            worker.case = None
            if not worker.process.is_alive() or not worker.open:
                worker.end()
                workers[workers.index(worker)] = _Worker(memory_gib)
    for worker in workers:
        worker.end()
    return [found[case] for case in order]


class _Worker:
    """One process that runs case after case."""

    def __init__(self, memory_gib: float) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, memory_gib), daemon=True)
        self.process.start()
        other.close()
        self.case: Path | None = None
        self.since: float | None = None
        self.open = True

    def give(self, case: Path) -> None:
        self.case, self.since = case, None
        self.pipe.send(str(case))

    def take(self) -> dict[str, Any] | None:
        try:
            message = self.pipe.recv()
        except EOFError:
            self.open = False
            self.process.join()
            return _failure(f"its process ended (exit code {self.process.exitcode})", 0.0)
        if message == "begins":
            self.since = time.monotonic()
            return None
        return message

    def end(self) -> None:
        self.open = False
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _serve(pipe: Connection, memory_gib: float) -> None:
    import resource

    size = int(memory_gib * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    from simulators.reaction.model import ReactionModel
    from simulators.reaction.suite_case import SuiteCase

    ReactionModel.read(_WARM_UP).simulate([0.0, 1.0], threads=1)  # kernels are compiled once per installation
    while True:
        try:
            folder = Path(pipe.recv())
        except EOFError:
            return
        pipe.send("begins")
        try:
            outcome = asdict(SuiteCase.read(folder).run())
        except Exception as error:  # a fault of ours is a case that fails, and is told
            outcome = _failure(f"{type(error).__name__}: {error}", 0.0)
        pipe.send(outcome)


def _failure(reason: str, seconds: float) -> dict[str, Any]:
    nothing: dict[str, Any] = {"feature": "", "engine": "", "worst": None}
    return {"result": "fails", "reason": reason, **nothing, "seconds": seconds}


def _index(folder: Path) -> dict[Path, dict[str, Any]]:
    """Case → type and tags, where an index.tsv of the suite lies in the folder or above it."""
    for place in (folder, folder.parent):
        if (place / "index.tsv").is_file():
            with (place / "index.tsv").open(encoding="utf-8", newline="") as table:
                return {
                    place / row["suite"] / row["case"]: {
                        "type": row["testType"],
                        "tags": [
                            t.strip() for k in ("componentTags", "testTags") for t in row[k].split(",") if t.strip()
                        ],
                    }
                    for row in csv.DictReader(table, delimiter="\t")
                }
    return {}


def counts(outcomes: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Suite and type → how many pass, are refused, fail."""
    found: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        found.setdefault(f"{outcome['suite']} {outcome.get('type', '')}".strip(), Counter())[outcome["result"]] += 1
    return {kind: {r: c[r] for r in ("passes", "refused", "fails")} for kind, c in sorted(found.items())}


def report(outcomes: Sequence[Mapping[str, Any]], seconds: float) -> dict[str, Any]:
    """What `--json` writes; its form is docs/schemas/bench_sbml.schema.json."""
    import twin

    return {
        "schema": 1,
        "benchmark": "SBML Test Suite",
        "version": twin.__version__,
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "python": platform.python_version()},
        "seconds": round(seconds, 1),
        "counts": counts(outcomes),
        "cases": [_plain(outcome) for outcome in outcomes],
    }


def _plain(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN and no infinity."""
    worst = outcome["worst"]
    finite = worst is not None and abs(worst) < float("inf")
    return {**outcome, "worst": worst if finite else None, "seconds": round(outcome["seconds"], 3)}


def write(path: Path, outcomes: Sequence[Mapping[str, Any]], seconds: float) -> None:
    """Write the JSON file."""
    path.write_text(json.dumps(report(outcomes, seconds), indent=1) + "\n", encoding="utf-8")


def page(outcomes: Sequence[Mapping[str, Any]], seconds: float) -> Iterator[str]:
    """Lines of docs/sbml_suite.md."""
    yield "# The SBML Test Suite"
    yield ""
    yield "Made by `twin bench sbml DIR --page docs/sbml_suite.md` from the cases in the shared folder `sbml/`. A case"
    yield "*passes* if every value is within the case's own tolerances (|x - reference| ≤ absolute + relative·|reference|),"
    yield "it is *refused* if a named `UnsupportedFeature` is raised before anything runs, otherwise it *fails*."
    yield "`--json FILE` writes every outcome, in the form of [schemas/bench_sbml.schema.json](schemas/bench_sbml.schema.json)."
    yield ""
    yield "The tolerances are those of `settings.txt`, unchanged; our runs are made at a relative tolerance of 1e-8. Cases of the"
    yield "stochastic suite are judged as told under *Random answers*."
    yield ""
    yield f"Machine: {_cpu()}, {os.cpu_count()} cores; {seconds:.0f} s in all."
    yield ""
    yield "| cases | pass | refused | fail |"
    yield "|---|---|---|---|"
    for kind, c in counts(outcomes).items():
        yield f"| {kind} | {c['passes']} | {c['refused']} | {c['fails']} |"
    yield from _random(outcomes)
    for result, title in (("refused", "Refused"), ("fails", "Failing")):
        chosen = [outcome for outcome in outcomes if outcome["result"] == result]
        yield ""
        yield f"## {title} cases"
        yield ""
        if not chosen:
            yield "None."
            continue
        yield "| case | feature | reason |"
        yield "|---|---|---|"
        for outcome in chosen:
            reason = outcome["reason"].replace("|", "\\|").replace("\n", " ")
            yield f"| {outcome['suite']} {outcome['case']} | {outcome['feature'] or '–'} | {reason} |"


def _random(outcomes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """How random answers were judged, and which of them have points outside their range."""
    from simulators.reaction.suite_statistics import AGAIN, REPEATS, Y_ALLOWED, Z_ALLOWED

    judged = [outcome for outcome in outcomes if outcome.get("points")]
    if not judged:
        return
    inside = [outcome for outcome in judged if not outcome["outside"]]
    again = [outcome for outcome in judged if outcome["repeats"] > REPEATS]
    outside, points = (sum(outcome[name] for outcome in judged) for name in ("outside", "points"))
    yield ""
    yield "## Random answers"
    yield ""
    yield f"A case is run with {REPEATS} repeats, the least that the suite's guide asks for, from seed 1; no seed was chosen by its"
    yield "outcome. At every time of its table, Z = √n (X − µ) / σ of the mean and Y = √(n/2) (S²/σ² − 1) of the deviation must"
    yield "lie in the ranges that the case's `settings.txt` gives. Of so many points some lie outside by chance alone, which the"
    yield f"guide expects; we allow {Z_ALLOWED} points of a mean and {Y_ALLOWED} of a deviation. A case with more is run once more with"
    yield f"{AGAIN * REPEATS} repeats from seed 2, where an error of the simulator would stand out twice as far; this came to pass in"
    yield f"{len(again)} of {len(judged)} cases."
    yield ""
    yield f"**{len(inside)} of {len(judged)} cases have no point outside; the others have {outside} points outside of {points} judged in all"
    yield f"({100 * outside / points:.2f} %).** Were Z and Y normal, 0.27 % would lie outside ±3; the deviation of a skewed distribution"
    yield "varies more than that of a normal one (twice as much for an exponential), which is why the suite gives wider ranges there."
    yield "Cases that differ only in how they write a distribution draw the same numbers, and so have the same points outside."
    yield ""
    yield "| case | points outside | of | worst quantity |"
    yield "|---|---|---|---|"
    for outcome in judged:
        if outcome["outside"]:
            yield f"| {outcome['suite']} {outcome['case']} | {outcome['outside']} | {outcome['points']} | {outcome['reason']} |"


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
