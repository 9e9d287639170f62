"""A function of the older model with an entry point of its own: keeps each job as a blob."""

import azure.functions as func

from ..shared.texts import greeting


def work(job: func.QueueMessage, kept: func.Out[str]) -> None:
    kept.set(f"{greeting('worker')}: {job.get_body().decode()}")
