"""What `jobs_import_from` takes over: waiting rows of other queues, as they are there and as jobs."""
