"""How many rows are claimed at once."""

from django_delayed.worker.batch_size import BATCH_SECONDS, MOST_NAMES, BatchSize, ShortJobs


def test_the_first_batch_is_one_job_and_quick_ones_double_it():
    batch_size = BatchSize(100)
    sizes = []
    for _ in range(9):
        sizes.append(batch_size.size)
        batch_size.learn(batch_size.size, seconds=batch_size.size * 1e-5)
    assert sizes == [1, 2, 4, 8, 16, 32, 64, 100, 100]


def test_a_batch_is_planned_to_take_a_little_less_than_twenty_milliseconds():
    batch_size = BatchSize(100)
    for _ in range(9):
        batch_size.learn(batch_size.size, seconds=batch_size.size * 0.002)
    assert batch_size.size == 7


def test_a_job_is_short_if_it_fitted_into_a_batch_when_it_was_performed_last():
    jobs = ShortJobs()
    assert "Mail" not in jobs
    jobs.learn("Mail", BATCH_SECONDS - 0.001)
    assert "Mail" in jobs
    jobs.learn("Mail", BATCH_SECONDS)
    assert "Mail" not in jobs
    jobs.learn("Mail", 0)
    jobs.learn("Report", 0)
    assert "Mail" in jobs
    assert "Report" in jobs


def test_a_limited_number_of_names_is_remembered():
    jobs = ShortJobs()
    for number in range(3 * MOST_NAMES):
        jobs.learn(f"Mail {number}", 0)
        assert f"Mail {number}" in jobs
    assert sum(f"Mail {number}" in jobs for number in range(3 * MOST_NAMES)) <= MOST_NAMES


def test_a_long_job_is_claimed_alone_from_then_on():
    batch_size = BatchSize(100)
    for _ in range(9):
        batch_size.learn(batch_size.size, seconds=0)
    assert batch_size.size == 100
    batch_size.learn(1, seconds=1)
    assert batch_size.size == 1


def test_no_batch_is_larger_than_the_read_ahead():
    batch_size = BatchSize(1)
    batch_size.learn(1, seconds=0)
    assert batch_size.size == 1
