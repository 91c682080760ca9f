"""The numbers of what was performed."""

from django_delayed.worker.tally import Tally


def test_the_sum_of_two_tallies_has_the_longer_of_their_longest_waits():
    one, other = Tally(3, 1, 6.0, 3.0, 3.0), Tally(1, 1, 2.0, 0.5, 2.0)
    assert one.plus(other) == other.plus(one) == Tally(4, 2, 8.0, 3.5, 3.0)
    assert one.plus(other).since(one) == Tally(1, 1, 2.0, 0.5, 3.0)
