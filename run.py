"""Stylise one content picture, or the items of a benchmark: compose → one run or many → print a table."""

from stylegallery.interrupt import end_interrupted, explain_interrupts

if __name__ == "__main__":
    explain_interrupts()  # before the imports that take seconds

import os
import sys

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from stylegallery.command import plain_console
from stylegallery.errors import InputError
from stylegallery.options import require_options
from stylegallery.overrides import as_hydra_reads, in_one_sentence


def run(config: DictConfig, console: Console) -> bool:
    """Whether everything that was asked for is there."""
    # PyTorch takes seconds to import, which --help and a wrong setting need not wait for.
    from harness.experiments import is_single, of_labels, of_result, require_used, run_labels, single_job
    from harness.runs import run_single

    require_used(config)
    if is_single(config):
        job = single_job(config)
        console.print(of_result(job, run_single(job, console)))
        return True
    jobs, tally = run_labels(config, console)
    for out in dict.fromkeys(job.out for job in jobs):
        console.print(of_labels(out, jobs, tally))
        console.print(f"all jobs: python -m harness.status {out}", markup=False, soft_wrap=True)
    return not (tally["failed"] + tally["lost"] + tally["not run"])


not_composed: list[Exception] = []  # errors of settings, which are explained at the end
exit_codes = [0]  # of the jobs of a sweep (-m): one that fails does not keep the next from running


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    try:
        exit_codes.append(0 if run(config, plain_console()) else 1)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        exit_codes.append(2)
    except (HydraException, OmegaConfBaseException) as error:
        not_composed.append(error)
    except FloatingPointError as error:
        print(f"error: {error}; use model.dtype=float32 or a smaller learning rate", file=sys.stderr)
        exit_codes.append(1)


if __name__ == "__main__":
    sys.argv[1:] = [as_hydra_reads(given) for given in sys.argv[1:]]
    try:
        with in_one_sentence(sys.argv[1:]):
            require_options(sys.argv[1:])
            main()
            if not_composed:
                raise not_composed[0]
    except InputError as error:
        if not isinstance(error.__cause__, BrokenPipeError):  # of Hydra's --help, see below
            print(f"error: {error}", file=sys.stderr)
            exit_codes.append(2)
    except KeyboardInterrupt:
        end_interrupted()
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # who reads what is printed, such as head, has enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(max(exit_codes))
