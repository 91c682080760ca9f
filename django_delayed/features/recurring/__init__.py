"""Recurring jobs: schedules in the code and in the admin, and a job for each tick of one."""
