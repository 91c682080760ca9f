import pytest

from shop.models import Comment
from shop.spam import SpamFilter

EXAMPLES = [
    ("Great board in deep powder", False),
    ("The bindings hold well, see you on the slope", False),
    ("More photos of the jacket please", False),
    ("Cheap watches, click now http://watches.example", True),
    ("WIN A FREE PHONE http://phones.example http://win.example", True),
    ("Casino bonus, click now https://casino.example", True),
]


def test_a_text_like_the_spam_examples_is_spam():
    assert SpamFilter(EXAMPLES).probability("click now for cheap phones http://phones.example") > 0.9


def test_a_text_like_the_other_examples_is_not_spam():
    assert SpamFilter(EXAMPLES).probability("these hold well on the slope, a great board") < 0.1


def test_without_examples_a_text_is_undecided():
    assert SpamFilter([]).probability("click now") == pytest.approx(0.5)


def test_the_filter_finds_all_the_spam_of_the_sample_shop_and_nothing_else(shop):
    for comment in Comment.objects.filter(state=Comment.State.PENDING):
        comment.check_for_spam()
    checked = Comment.objects.filter(moderated=False)
    spam = checked.filter(state=Comment.State.SPAM)
    assert checked.count() == 30
    assert set(spam) == set(checked.filter(body__contains="example"))
    assert not checked.filter(state=Comment.State.PENDING).exists()
