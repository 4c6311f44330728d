"""`unskew job status OUTPUT`: prints the state of a job. Loads no model."""

import json
from collections.abc import Sequence

from ..common import UserError, printable

USAGE = """usage: unskew job status OUTPUT [--json]

Show the state of a job: running, interrupted or finished; rows done and left; errors; after its end, the report. OUTPUT
is the output of `unskew predict`, or the job's working folder. --json prints one object, for machines."""


def run(arguments: Sequence[str]) -> int:
    """Run the command and return the exit code.

    Raises:
        UserError: If the arguments are wrong, or there is no job.
    """
    if not arguments or {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0 if arguments else 2
    names = [word for word in arguments[1:] if word != "--json"]
    if arguments[0] != "status" or len(names) != 1 or names[0].startswith("-"):
        raise UserError("give `unskew job status OUTPUT`, or --json after it")
    from ..jobs import describe_status, job_status

    status = job_status(names[0])
    print(json.dumps(status) if "--json" in arguments else printable(describe_status(status)))
    return 0
