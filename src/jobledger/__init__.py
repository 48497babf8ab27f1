"""jobledger: a multi-tenant background-job service in which the history of a job is the job."""
