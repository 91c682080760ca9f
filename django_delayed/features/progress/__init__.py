"""How far running jobs are: said by the jobs, and shown to those who wait for them."""
