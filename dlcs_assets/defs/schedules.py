"""When the jobs without a request run."""

import dagster as dg


def schedule(job: dg.JobDefinition, cron: str, variable: str) -> dg.ScheduleDefinition:
    """Return a job's schedule, running from the start. `variable` is where the cron line is from."""
    try:
        return dg.ScheduleDefinition(
            name=f"nightly_{job.name}",
            job=job,
            cron_schedule=cron,
            default_status=dg.DefaultScheduleStatus.RUNNING,
        )
    except dg.DagsterInvalidDefinitionError as error:
        raise ValueError(
            f"{variable} is no cron line: {cron!r}. Five fields are needed, such as 0 3 * * * for every night at three."
        ) from error
