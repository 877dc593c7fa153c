"""Job scripts: strict schedulers take their directives, and what they run goes on until it is done, and no longer."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import small_scenario
from fake_scheduler import Cluster, wait_for
from mpi_launch import MPIEXEC, ROOT, needs_mpiexec
from same_result import same_result

from hpc import RequestError
from hpc.job_request import JobRequest, mebibytes_of, seconds_of
from scenarios.cli import main

SYSTEMS = ("slurm", "pbs", "pjm")
PLAIN_PATH = f"{os.environ.get('PATH', '')}"

STUB = r"""#!/bin/bash
# twin, as far as the script meets it: notes how it was called, and ends with the next code of a list
echo "$* | OMP_NUM_THREADS=$OMP_NUM_THREADS RANKS=$TWIN_ASKED_RANKS CORES=$TWIN_ASKED_CORES_PER_RANK pwd=$PWD" >> "$STUB/calls"
rank=${OMPI_COMM_WORLD_RANK:-0}
code=$(sed -n "$(grep -c '' < "$STUB/calls")p" "$STUB/codes")
exit "${code:-75}"
"""


@pytest.fixture
def stubbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster where `twin` ends with the codes that a test writes; the current folder holds a scenario."""
    monkeypatch.chdir(tmp_path)
    small_scenario.write(tmp_path)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "twin").write_text(STUB)
    (programs / "twin").chmod(0o755)
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "activate").write_text(f'export PATH="{programs}:$PATH"\n')
    monkeypatch.setenv("STUB", str(tmp_path))
    return Cluster(tmp_path / "cluster", PLAIN_PATH)


def written(*options: str, system: str = "slurm", nodes: int = 1) -> Path:
    """A script for the small scenario, by the command line."""
    given = ["--system", system, "--nodes", str(nodes), "--venv", "venv", "--output", "job.sh", "--overwrite", *options]
    assert main(["jobscript", "small.yaml", *given]) == 0
    script = Path("job.sh").absolute()
    assert script.stat().st_mode & stat.S_IXUSR
    assert subprocess.run(["bash", "-n", str(script)], capture_output=True).returncode == 0
    return script


def calls(folder: Path) -> list[str]:
    """How `twin` was called."""
    path = folder / "calls"
    return path.read_text().splitlines() if path.exists() else []


FULL = ("--ranks-per-node", "4", "--workers", "3", "--threads", "2", "--memory", "24GiB", "--time", "1-02:30:00", "--queue", "long",
        "--account", "hp123456")  # fmt: skip


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_strict_scheduler_reads_what_was_asked_for(system: str, stubbed: Cluster, tmp_path: Path) -> None:
    done = stubbed.login("bash", str(written(*FULL, system=system, nodes=8)), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    asked = stubbed.jobs[0]["asked"]
    expected = {
        "slurm": {
            "nodes": "8", "ntasks-per-node": "4", "cpus-per-task": "6", "mem": "24576M", "time": "26:30:00", "partition": "long",
            "account": "hp123456", "job-name": "small",
        },
        "pbs": {
            "select": "8", "mpiprocs": "4", "ncpus": "24", "ompthreads": "2", "mem": "24576mb", "walltime": "26:30:00", "q": "long",
            "A": "hp123456", "N": "small", "place": "scatter",
        },
        "pjm": {
            "node": "8", "max-proc-per-node": "4", "node-mem": "24576Mi", "elapse": "26:30:00", "rscgrp": "long", "g": "hp123456",
            "name": "small",
        },
    }[system]  # fmt: skip
    assert {name: asked.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--gpus-per-nod=2"], "unrecognized option"),
        (["--time=1h"], "invalid value"),
        (["--mem", "24"], "requires a value"),
    ],
)
def test_the_scheduler_of_these_tests_is_strict(
    options: list[str], says: str, stubbed: Cluster, tmp_path: Path
) -> None:
    """Else the test before would say nothing."""
    done = stubbed.login("sbatch", *options, str(written()), cwd=tmp_path)
    assert done.returncode == 1
    assert says in done.stderr


@pytest.mark.parametrize(
    ("gpus", "ranks", "says"), [(4, 4, "--gpus-per-task=1"), (8, 2, "--gpus-per-task=4"), (2, 8, "--gpu-bind=single:4")]
)
def test_slurm_binds_gpus_and_cores_to_ranks(
    gpus: int, ranks: int, says: str, stubbed: Cluster, tmp_path: Path
) -> None:
    script = written("--gpus", str(gpus), "--ranks-per-node", str(ranks), "--workers", "4")
    assert stubbed.login("bash", str(script), cwd=tmp_path).returncode == 0
    assert stubbed.jobs[0]["asked"]["gpus-per-node"] == str(gpus)
    line = next(line for line in script.read_text().splitlines() if line.startswith("launcher="))
    assert says in line
    assert "--cpus-per-task=4 --cpu-bind=cores" in line  # srun does not take it from sbatch
    # and srun takes them: it runs the program
    (tmp_path / "codes").write_text("0\n")
    stubbed.work_off()
    assert len(calls(tmp_path)) == 1
    assert f"RANKS={ranks} CORES=4" in calls(tmp_path)[0]


@pytest.mark.parametrize(
    ("system", "codes", "runs"),
    [
        ("slurm", [3], 1),
        ("slurm", [75, 143, 0], 2),
        ("slurm", [1], 1),
        ("slurm", [75, 2], 2),
        *((system, codes, runs) for system in SYSTEMS for codes, runs in (([75, 75, 0], 3), ([75] * 9, 4), ([2], 1))),
    ],
)
def test_it_goes_on_until_it_is_done_and_never_after_an_error(
    system: str, codes: list[int], runs: int, stubbed: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "codes").write_text("\n".join(map(str, codes)))
    script = written("--attempts", "4", "--time", "00:30:00", system=system)
    assert stubbed.login("bash", str(script), cwd=tmp_path).returncode == 0
    said = stubbed.work_off()
    called = calls(tmp_path)
    assert len(called) == runs
    scenario, out = tmp_path / "small.yaml", tmp_path / "results" / "small.zarr"
    for line in called:
        assert line.startswith(f"run {scenario} --out {out} --processes 1 --resume --walltime 00:2")
        assert re.search(r"--walltime 00:2[78]:\d\d ", line)  # 30 min less two minutes
        assert "OMP_NUM_THREADS=1 RANKS=1 CORES=1" in line
        assert line.endswith(f"pwd={tmp_path}")
    ran = [job for job in stubbed.jobs if job["state"] == "ended"]
    last = codes[runs - 1]
    assert [job["code"] for job in ran] == [75] * (runs - 1) + [last]
    if last == 143:  # cancelled, or so it seems
        assert "told to end before its time" in said[-1]
    if last in (1, 2):
        assert f"ended with exit code {last}: not submitted again" in said[-1]
    if system != "pjm" and runs == 4:
        assert "not done after 4 attempts" in said[-1]


@pytest.mark.parametrize("system", ["slurm", "pbs"])
def test_each_member_of_an_array_goes_on_by_itself(system: str, stubbed: Cluster, tmp_path: Path) -> None:
    """Seeds 3, 4, 5: all stop once in time, the second a second time."""
    (tmp_path / "codes").write_text("75\n75\n75\n0\n75\n0\n0\n")
    assert stubbed.login("bash", str(written("--array", "3-5", system=system)), cwd=tmp_path).returncode == 0
    stubbed.work_off()
    seeds = [re.search(r"--seed (\d+) --out (\S+)", line) for line in calls(tmp_path)]
    assert [found[1] for found in seeds if found] == ["3", "4", "5", "3", "4", "5", "4"]
    assert {Path(found[2]).name for found in seeds if found} == {f"small-seed-{seed}.zarr" for seed in (3, 4, 5)}


def test_bulk_jobs_of_pjm_run_each_seed_once(stubbed: Cluster, tmp_path: Path) -> None:
    """PJM refuses --bulk with --step: what is not done is submitted again by hand."""
    (tmp_path / "codes").write_text("0\n75\n0\n")
    assert stubbed.login("bash", str(written("--array", "0-2", system="pjm")), cwd=tmp_path).returncode == 0
    said = stubbed.work_off()
    assert [job["member"] for job in stubbed.jobs] == [0, 1, 2]
    assert [job["code"] for job in stubbed.jobs] == [0, 75, 0]
    assert "submit it again with: bash" in said[1]


def test_step_jobs_of_pjm_delete_what_is_not_needed(stubbed: Cluster, tmp_path: Path) -> None:
    (tmp_path / "codes").write_text("75\n0\n")
    assert stubbed.login("bash", str(written("--attempts", "5", system="pjm")), cwd=tmp_path).returncode == 0
    assert [job["asked"]["sparam"] for job in stubbed.jobs] == [
        "sn=1",
        *(f"jid=64856,sn={n},sd=ec!=75:after:{n - 1}" for n in range(2, 6)),
    ]
    stubbed.work_off()
    assert [job["state"] for job in stubbed.jobs] == ["ended", "ended", "deleted", "deleted", "deleted"]


@pytest.mark.parametrize(
    ("codes", "runs", "code"), [([137, 134, 0], 3, 0), ([137] * 9, 4, 137), ([2], 1, 2), ([75], 1, 75)]
)
def test_a_master_worker_job_of_pjm_launches_again_what_lost_a_node(
    codes: list[int], runs: int, code: int, stubbed: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "codes").write_text("\n".join(map(str, codes)))
    script = written("--master-worker", system="pjm", nodes=1)
    assert stubbed.login("bash", str(script), cwd=tmp_path).returncode == 0
    assert "mswk" in stubbed.jobs[0]["asked"]
    (tmp_path / "programs" / "mpiexec").write_text('#!/bin/bash\nexec "$@"\n')
    (tmp_path / "programs" / "mpiexec").chmod(0o755)
    stubbed.work_off()
    assert len(calls(tmp_path)) == runs
    assert [job["code"] for job in stubbed.jobs] == [code]


@needs_mpiexec
def test_mpiexec_takes_what_the_script_gives_it(
    stubbed: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open MPI itself: two ranks of one core each, and each rank its own half of four GPUs."""
    assert MPIEXEC is not None
    for name in ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"):
        monkeypatch.setenv(name, "1")
    stubbed.path = f"{Path(MPIEXEC).parent}:{PLAIN_PATH}"
    (tmp_path / "programs" / "twin").write_text(
        '#!/bin/bash\necho "$OMPI_COMM_WORLD_RANK sees $CUDA_VISIBLE_DEVICES on $(taskset -cp $$ | sed "s/.*: //")" >> $STUB/calls\n'
        "exit 2\n"
    )
    script = written("--ranks-per-node", "2", "--gpus", "4", "--workers", "2", "--threads", "1", system="pbs")
    text = script.read_text().replace("PE=2", "PE=1")  # a machine of two cores
    script.write_text(text)
    assert stubbed.login("bash", str(script), cwd=tmp_path).returncode == 0
    said = stubbed.work_off()
    found = dict(line.split(" sees ") for line in calls(tmp_path))
    assert {rank: seen.split(" on ")[0] for rank, seen in found.items()} == {"0": "0,1", "1": "2,3"}, said
    cores = [seen.split(" on ")[1] for seen in found.values()]
    if len(os.sched_getaffinity(0)) >= 2:
        assert len(set(cores)) == 2  # each its own
    assert stubbed.jobs[0]["code"] == 2  # the launcher passes on what a rank ends with


@pytest.mark.slow
def test_a_run_told_to_end_by_the_scheduler_goes_on_in_the_next_job_and_ends_in_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole of it: `twin` itself, told to end as Slurm does it, shortly before the time is up: SIGTERM to the script alone."""
    monkeypatch.chdir(tmp_path)
    small_scenario.write(tmp_path, members="members: 300")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "twin").write_text(
        f'#!/bin/bash\nexport PYTHONPATH={ROOT}\nexec {sys.executable} -m scenarios.cli "$@"\n'
    )
    (programs / "twin").chmod(0o755)
    cluster = Cluster(tmp_path / "cluster", f"{programs}:{PLAIN_PATH}")
    options = ["--system", "slurm", "--nodes", "1", "--time", "00:30:00", "--output", "job.sh"]
    assert main(["jobscript", "small.yaml", *options]) == 0
    script = tmp_path / "job.sh"
    text = script.read_text().replace("$SECONDS -lt 1680", "$SECONDS -lt 0")  # as if the time were nearly up
    script.write_text("".join(line for line in text.splitlines(True) if not line.startswith("source ")))
    assert cluster.login("bash", str(script), cwd=tmp_path).returncode == 0
    journal = tmp_path / "results" / ".small.zarr.journal"

    def tell(process: subprocess.Popen[str]) -> None:
        wait_for(lambda: journal.exists() and sum(path.stat().st_size for path in _files(journal)) > 8_000)
        os.kill(process.pid, signal.SIGTERM)

    said = cluster.work_off(during=tell)
    assert [job["code"] for job in cluster.jobs] == [75, 0], said
    assert "going on after" in said[1]
    assert main(["run", "small.yaml", "--out", "alone.zarr", "--processes", "1"]) == 0
    same_result(tmp_path / "alone.zarr", tmp_path / "results" / "small.zarr")


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    ("system", "options", "says"),
    [
        ("lsf", [], "--system lsf: expected one of slurm, pbs, pjm"),
        ("slurm", ["--nodes", "0"], "--nodes 0: expected 1 or more"),
        ("slurm", ["--time", "90"], "--time 90: expected HH:MM:SS or D-HH:MM:SS"),
        ("slurm", ["--time", "01:75:00"], "expected HH:MM:SS"),
        ("slurm", ["--time", "1-30:00:00"], "30 hours beside days"),
        ("slurm", ["--time", "00:00:10"], "no time to start in"),
        ("slurm", ["--gpus", "4"], "there are only 1 workers on a node"),
        ("slurm", ["--gpus", "3", "--ranks-per-node", "4"], "one number divides the other"),
        ("slurm", ["--gpus", "4", "--workers", "8", "--node", "gpus=2"], "a node as told by --node has 2 GPUs"),
        ("slurm", ["--workers", "64", "--node", "cores=48"], "= 64 cores, and a node as told by --node has 48"),
        ("slurm", ["--node", "chips=2"], "'chips=2' is none of"),
        ("slurm", ["--memory", "lots"], "--memory lots: expected a whole number with its unit"),
        ("slurm", ["--array", "5-5"], "--array 5-5: expected the first and the last seed"),
        ("slurm", ["--attempts", "1000"], "at most 100"),
        ("slurm", ["--master-worker"], "Slurm has none"),
        ("pbs", ["--master-worker"], "PBS has none"),
        ("slurm", ["--queue", "a b"], "--queue 'a b': expected one word"),
        ("slurm", ["--directive", "--x\nrm -rf /"], "on one line"),
        ("slurm", ["--output", "nowhere/job.sh"], "cannot be written"),
        ("slurm", ["--output", "small.yaml"], "is there already"),
        ("pjm", ["--gpus", "1"], "a node of Fugaku has no GPU"),
        ("pjm", ["--ranks-per-node", "49"], "a node of Fugaku has 48"),
        ("pjm", ["--memory", "64GiB"], "a node of Fugaku has 32768 MiB"),
        ("pjm", ["--nodes", "100000"], "the largest job has 82,944 nodes"),
        ("pjm", ["--gpus", "1", "--node", "gpus=8"], "asks for GPUs in another way on each machine"),
        ("pjm", ["--array", "0-3", "--master-worker"], "PJM refuses --bulk with --mswk"),
    ],
)
def test_what_cannot_be_granted_is_refused(
    system: str,
    options: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    small_scenario.write(tmp_path)
    nodes = [] if "--nodes" in options else ["--nodes", "1"]
    assert main(["jobscript", "small.yaml", "--system", system, *nodes, *options]) == 2
    assert says in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"small.yaml"}


def test_a_scenario_that_is_refused_has_no_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small_scenario.write(tmp_path, members="membrs: 3")
    assert main(["jobscript", "small.yaml", "--system", "slurm", "--nodes", "1"]) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"small.yaml"}


def test_units_of_requests() -> None:
    assert seconds_of("1-02:03:04") == 93784
    assert (mebibytes_of("24GiB"), mebibytes_of("24G"), mebibytes_of("500MB"), mebibytes_of("1T")) == (
        24576,
        24576,
        500,
        2**20,
    )
    assert JobRequest(nodes=1, time_s=93784).time == "26:03:04"
    with pytest.raises(RequestError, match="expected a whole number"):
        mebibytes_of("100")


def test_names_with_spaces_and_quotes_stay_whole(
    stubbed: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "it's a folder; rm $HOME"
    odd.mkdir()
    monkeypatch.chdir(odd)
    small_scenario.write(odd)
    (tmp_path / "codes").write_text("75\n0\n")
    assert main(["jobscript", "small.yaml", "--system", "slurm", "--nodes", "1", "--venv", str(tmp_path / "venv")]) == 0
    assert stubbed.login("bash", str(odd / "small.slurm.sh"), cwd=odd).returncode == 0
    stubbed.work_off()
    assert len(calls(tmp_path)) == 2
    assert all(f"run {odd / 'small.yaml'} --out {odd}/results/small.zarr" in line for line in calls(tmp_path))


def test_an_environment_that_is_not_here_is_said_and_the_script_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script may be written on another machine than it runs on."""
    monkeypatch.chdir(tmp_path)
    small_scenario.write(tmp_path)
    command = ["jobscript", "small.yaml", "--system", "slurm", "--nodes", "1", "--overwrite", "--venv"]
    assert main([*command, "nope"]) == 0
    assert "note: --venv nope is no virtual environment on this machine" in capsys.readouterr().err
    assert str(tmp_path / "nope" / "bin" / "activate") in (tmp_path / "small.slurm.sh").read_text()
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "activate").touch()
    assert main([*command, "venv"]) == 0
    assert capsys.readouterr().err == ""
