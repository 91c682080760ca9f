"""System checks: what is set up wrongly, said before it costs a job."""
