"""Runs the trials of an experiment as a job array of SLURM, which submitit submits."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..runs.subprocesses import STARTER_VARIABLE
from .processes import command, opened_log


class Submitted:
    """Submits runs as a job array. Each is one ordinary command, which resumes its run if the job is requeued.

    Args:
        folder: for the files of submitit.
        options: of submitit's ``AutoExecutor``, such as ``{"slurm_partition": "gpu", "timeout_min": 60}``; ``cluster``
            may be ``local``, which runs the jobs on this machine.
        jobs: how many of an array run at a time.
        environment: further variables for the runs.

    Raises:
        InputError: if submitit is not installed, or there is no SLURM, or it does not know an option.
    """

    slots = None

    def __init__(
        self, folder: Path, options: Mapping[str, Any], jobs: int, environment: Mapping[str, str] | None = None
    ) -> None:
        try:
            import submitit
        except ImportError as error:
            raise InputError(
                "--launcher slurm needs submitit; install it: pip install 'resnet-lightning[submitit]'"
            ) from error
        given = dict(options)
        cluster = given.pop("cluster", "slurm")
        try:
            self._executor = submitit.AutoExecutor(folder=folder.absolute(), cluster=cluster)
            if cluster == "slurm":
                given.setdefault("slurm_array_parallelism", jobs)
            self._executor.update_parameters(**given)
        except (RuntimeError, ValueError, TypeError, NameError, AssertionError) as error:
            raise InputError(f"--launcher_args: {' '.join(str(error).split())}") from error
        self._environment = dict(environment or {})

    def start(self, commands: Sequence[Sequence[str]], logs: Sequence[Path], slots: Sequence[int]) -> list["_Job"]:
        here = Path.cwd()
        tasks = [
            Task(list(arguments), log.absolute(), here, self._environment)
            for arguments, log in zip(commands, logs, strict=True)
        ]
        with self._executor.batch():
            jobs = [self._executor.submit(task) for task in tasks]
        return [_Job(job) for job in jobs]


@dataclass
class Task:
    """What a job runs.

    Args:
        arguments: the command line after ``lightning``.
        log: the file for what it prints.
        folder: the folder in which it runs.
        environment: further variables.
    """

    arguments: list[str]
    log: Path
    folder: Path
    environment: Mapping[str, str]
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False, repr=False)

    def __call__(self) -> int:
        """Runs the command and returns its exit code."""
        environment = {**os.environ, **self.environment, STARTER_VARIABLE: str(os.getpid())}
        with opened_log(self.log) as output:
            self._process = subprocess.Popen(
                command(self.arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=environment,
            )
        return self._process.wait()

    def checkpoint(self) -> Any:
        """Lets the run save before the job ends, and returns what the requeued job runs."""
        import submitit

        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()
        return submitit.helpers.DelayedSubmission(Task(self.arguments, self.log, self.folder, self.environment))


class _Job:
    """A job of submitit, as the launcher uses it."""

    def __init__(self, job: Any) -> None:
        self._job = job

    def poll(self) -> int | None:
        if not self._job.done():
            return None
        try:
            return int(self._job.result())
        except Exception:  # submitit has many; the log of the run says more
            return 1

    def terminate(self) -> None:
        self._job.cancel(check=False)

    def kill(self) -> None:
        self._job.cancel(check=False)
