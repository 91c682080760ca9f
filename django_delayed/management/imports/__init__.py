"""The queues from which `jobs_import_from` takes waiting rows, and how these rows become jobs."""
