"""The numbers of the queue for Prometheus and for scripts."""
