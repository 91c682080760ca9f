"""What runs in the supervisor: the process of `jobs_work` that starts and watches workers."""
