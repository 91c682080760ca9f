"""What runs in a worker: a process that `jobs_work` starts, or `jobs_workoff` itself."""
